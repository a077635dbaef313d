"""Sealed data: encrypted with AES-256-GCM, and bound to the place where they are stored.

A header (magic, format, salt, name of the data key) is followed by the data in chunks of 1 MiB, each with a tag of 16
bytes. The data key and the salt give every sealing a key of its own (HKDF-SHA256), so that no nonce is ever used twice.
A chunk's nonce is its number and whether it is the last one; header and place are authenticated with every chunk: none
can be left out, moved, repeated or added, and one file cannot stand for another.
"""

import secrets
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32
CHUNK = 1024 * 1024
_TAG = 16
_MAGIC, _FORMAT = b"VIGILSEALED\0", 1
_HEADER = struct.Struct(">12sB32sB")  # magic, format, salt, length of the key's name


class SealBroken(Exception):
    """The bytes cannot be opened: they or their place are others than at the sealing, or the key is."""


def seal(key: bytes, name: str, place: str, data: bytes) -> bytes:
    """Encrypt data that are stored at `place` with the data key (32 bytes) of this name, of at most 255 bytes."""
    salt = secrets.token_bytes(32)
    encoded = name.encode()
    header = _HEADER.pack(_MAGIC, _FORMAT, salt, len(encoded)) + encoded
    cipher, bound = _cipher(key, salt), header + place.encode()
    last = max(0, len(data) - 1) // CHUNK
    chunks = (
        cipher.encrypt(_nonce(number, last=number == last), data[number * CHUNK : (number + 1) * CHUNK], bound)
        for number in range(last + 1)
    )
    return b"".join((header, *chunks))


def sealed_with(data: bytes) -> str | None:
    """Name of the data key that sealed these bytes; None where they are not sealed."""
    if len(data) < _HEADER.size or not data.startswith(_MAGIC):
        return None
    return data[_HEADER.size : _HEADER.size + data[_HEADER.size - 1]].decode(errors="replace")


def unseal(key: bytes, place: str, data: bytes) -> bytes:
    """The bytes that were sealed for this place. Raises SealBroken, and gives no part of them then."""
    if len(data) < _HEADER.size:
        raise SealBroken
    magic, format_, salt, length = _HEADER.unpack_from(data)
    if (magic, format_) != (_MAGIC, _FORMAT):
        raise SealBroken
    start = _HEADER.size + length
    cipher, bound = _cipher(key, salt), data[:start] + place.encode()
    step = CHUNK + _TAG
    last = max(0, len(data) - start - 1) // step
    try:
        return b"".join(
            cipher.decrypt(
                _nonce(number, last=number == last), data[start + number * step : start + (number + 1) * step], bound
            )
            for number in range(last + 1)
        )
    except InvalidTag:
        raise SealBroken from None


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, b"vigil sealed data 1").derive(key))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\1" if last else b"\0")
