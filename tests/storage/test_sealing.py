"""Sealed bytes come back as they were, or not at all."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.sealing import CHUNK, KEY_BYTES, SealBroken, seal, sealed_with, unseal

KEY, PLACE = bytes(range(KEY_BYTES)), "s3://vigil/models/press/1/job-1/detector.safetensors"
STEP = CHUNK + 16
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK]
FEW = settings(max_examples=150)


def long(size: int) -> bytes:
    return bytes(range(251)) * (size // 251 + 1)


def refused(data: bytes, place: str = PLACE, key: bytes = KEY) -> None:
    with pytest.raises(SealBroken):
        unseal(key, place, data)


@FEW
@given(st.binary(), st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES), st.text(max_size=60), st.text(max_size=60))
def test_any_bytes_come_back(data: bytes, key: bytes, name: str, place: str) -> None:
    sealed = seal(key, name, place, data)
    assert unseal(key, place, sealed) == data
    assert sealed_with(sealed) == name


@pytest.mark.parametrize("size", SIZES)
def test_any_size_comes_back(size: int) -> None:
    data = long(size)[:size]
    sealed = seal(KEY, "line-3", PLACE, data)
    assert unseal(KEY, PLACE, sealed) == data
    assert bytes(range(251)) not in sealed
    refused(sealed[:-1])
    refused(sealed + b"\0")


def test_the_same_bytes_are_never_sealed_alike() -> None:
    assert len({seal(KEY, "line-3", PLACE, b"same") for _ in range(50)}) == 50


@FEW
@given(st.binary(max_size=300), st.data())
def test_any_flipped_bit_is_noticed(data: bytes, draw: st.DataObject) -> None:
    sealed = bytearray(seal(KEY, "line-3", PLACE, data))
    sealed[draw.draw(st.integers(0, len(sealed) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    refused(bytes(sealed))


@FEW
@given(st.binary(max_size=300), st.data())
def test_any_truncation_is_noticed(data: bytes, draw: st.DataObject) -> None:
    sealed = seal(KEY, "line-3", PLACE, data)
    refused(sealed[: draw.draw(st.integers(0, len(sealed) - 1))])


@FEW
@given(st.text(max_size=60), st.text(max_size=60))
def test_a_file_does_not_stand_for_another(place: str, other: str) -> None:
    sealed = seal(KEY, "line-3", place, b"model")
    if place == other:
        assert unseal(KEY, other, sealed) == b"model"
    else:
        refused(sealed, other)


def test_another_key_opens_nothing() -> None:
    refused(seal(KEY, "line-3", PLACE, b"model"), key=bytes(KEY_BYTES))


def test_chunks_are_neither_moved_nor_repeated_nor_left_out() -> None:
    sealed = seal(KEY, "line-3", PLACE, long(4 * CHUNK)[: 4 * CHUNK])
    start = len(sealed) - 4 * STEP
    header, chunks = sealed[:start], [sealed[start + n * STEP : start + (n + 1) * STEP] for n in range(4)]
    assert b"".join((header, *chunks)) == sealed
    for order in ([1, 0, 2, 3], [0, 1, 1, 2, 3], [0, 2, 3], [0, 1, 2], [3], [0, 1, 2, 3, 3], []):
        refused(b"".join((header, *(chunks[n] for n in order))))


@given(st.binary(max_size=200))
def test_what_was_never_sealed_is_not_opened(data: bytes) -> None:
    assert sealed_with(data) is None
    refused(data)
