"""Signature Version 4, both ways: the server verifies with what the command line signs with.

AWS, IAM user guide, "Signature Version 4 for API requests". For this service the path is encoded once more on top of
its encoding on the wire (only S3 differs).
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
SERVICE = "lookoutvision"
TIME_FORMAT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True)
class Scope:
    """The credential scope: which day, region and service a signature is good for."""

    date: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


@dataclass(frozen=True)
class SignedRequest:
    """The parts of a request that a signature covers. `path` and `query` are percent-encoded, as on the wire."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body_sha256: str

    def signature(self, secret: str, scope: Scope, time: str, signed_headers: Iterable[str]) -> str:
        """The signature (hex). Headers are looked up by lower-case name."""
        names = sorted(signed_headers)
        headers = "".join(f"{name}:{' '.join(self.headers.get(name, '').split())}\n" for name in names)
        canonical = "\n".join(
            (
                self.method,
                quote(_without_dots(self.path), safe="/~"),
                _canonical_query(self.query),
                headers,
                ";".join(names),
                self.body_sha256,
            )
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join((ALGORITHM, time, str(scope), digest))
        key = f"AWS4{secret}".encode()
        for part in (scope.date, scope.region, scope.service, "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return hmac.digest(key, text.encode(), "sha256").hex()


def sign(
    method: str,
    host: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    key: tuple[str, str],
    region: str,
) -> dict[str, str]:
    """The headers to send for a signed request: those given, and Host, X-Amz-Date and Authorization.

    `key` is (access key id, secret); `path` and `query` are percent-encoded.
    """
    time = datetime.now(UTC).strftime(TIME_FORMAT)
    scope = Scope(time[:8], region, SERVICE)
    signed = {name.lower(): value for name, value in headers.items()} | {"host": host, "x-amz-date": time}
    request = SignedRequest(method, path, query, signed, hashlib.sha256(body).hexdigest())
    signature = request.signature(key[1], scope, time, signed)
    authorization = (
        f"{ALGORITHM} Credential={key[0]}/{scope}, SignedHeaders={';'.join(sorted(signed))}, Signature={signature}"
    )
    return {**signed, "authorization": authorization}


def _without_dots(path: str) -> str:
    kept: list[str] = []
    for part in path.split("/"):
        if part == "..":
            kept[-1:] = []
        elif part not in ("", "."):
            kept.append(part)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


def _canonical_query(query: str) -> str:
    pairs = []
    for pair in query.split("&") if query else ():
        name, _, value = pair.partition("=")
        pairs.append((_encoded_anew(name), _encoded_anew(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encoded_anew(text: str) -> str:
    # By bytes: bytes that are not UTF-8 stay what they are, so that none can be exchanged for another.
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="-_.~")
