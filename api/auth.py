"""Who calls: every request but the health checks carries a Signature Version 4, verified here before anything else."""

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import signature
from api.errors import AccessDeniedException, ServiceError, ValidationException, from_storage
from storage.access import AccessKeys
from storage.errors import StorageError
from storage.records import Role

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
LARGEST_REQUEST = 16 * 1024 * 1024
_SKEW_SECONDS = 300
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 +Credential=(?P<key>[^/,\s]+)/(?P<date>\d{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)"
    r"/aws4_request, *SignedHeaders=(?P<headers>[^,\s]+), *Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True)
class Caller:
    """The access key that signed a request, and its role."""

    key: str
    role: Role


class Authentication:
    """Middleware: reads the body (bounded), verifies the signature over it, and hands both on."""

    def __init__(self, app: ASGIApp, keys: AccessKeys, max_image_bytes: int) -> None:
        self._app, self._keys, self._max_image_bytes = app, keys, max_image_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with what is wrong."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            body = await self._body(request)
            scope.setdefault("state", {})["caller"] = verify(request, body, self._keys)
        except StorageError as error:
            await from_storage(error).response()(scope, receive, send)
            return
        except ServiceError as error:
            log.warning("%s %s is refused: %s", request.method, request.url.path, error)
            await error.response()(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _body(self, request: Request) -> bytes:
        detect = request.url.path.endswith("/detect")
        limit = self._max_image_bytes if detect else LARGEST_REQUEST
        what = "the image" if detect else "the body of the request"
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            # Read to the end, but keep nothing: a client that is cut off while it sends never sees the answer.
            if size <= limit:
                chunks.append(chunk)
            elif size > 8 * limit:
                break
        if size > limit:
            raise ValidationException(f"{what} is larger than {limit:,} bytes, the most that is allowed")
        return b"".join(chunks)


def verify(request: Request, body: bytes, keys: AccessKeys) -> Caller:
    """Who signed the request. Raises AccessDeniedException that says what is wrong with the signature."""
    headers = _joined(request)
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", "").strip())
    if match is None:
        raise AccessDeniedException(
            "the request is not signed with AWS Signature Version 4; give the client an access key "
            "(`vigil env` prints one)"
        )
    if match["service"] != signature.SERVICE:
        raise AccessDeniedException(f"the request is signed for the service '{match['service']}', not lookoutvision")
    time = headers.get("x-amz-date", "")
    _check_time(time, match["date"])
    names = match["headers"].split(";")
    if "host" not in names or "x-amz-date" not in names:
        raise AccessDeniedException("the signature must cover the headers host and x-amz-date")
    digest = hashlib.sha256(body).hexdigest()
    if headers.get("x-amz-content-sha256", digest) != digest:
        raise AccessDeniedException("x-amz-content-sha256 is not the SHA-256 of the body that arrived")
    key = keys.find(match["key"])
    if key is None:
        raise AccessDeniedException(f"the access key '{match['key']}' is not known to this service")
    path = request.scope["raw_path"].decode("ascii", "replace")
    query = request.scope["query_string"].decode("ascii", "replace")
    signed = signature.SignedRequest(request.method, path, query, headers, digest)
    scope = signature.Scope(match["date"], match["region"], match["service"])
    if not hmac.compare_digest(signed.signature(key.secret, scope, time, names), match["signature"]):
        raise AccessDeniedException(
            f"the signature does not fit the request: the secret that belongs to '{key.id}' is another one, "
            "or the request was changed on its way"
        )
    return Caller(key.id, key.role)


def _joined(request: Request) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _check_time(time: str, date: str) -> None:
    try:
        signed = datetime.strptime(time, signature.TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise AccessDeniedException("the header x-amz-date is missing or not of the form 20251031T235959Z") from None
    if time[:8] != date:
        raise AccessDeniedException("x-amz-date and the credential scope name different days")
    off = (datetime.now(UTC) - signed).total_seconds()
    if abs(off) > _SKEW_SECONDS:
        raise AccessDeniedException(
            f"the request was signed {abs(off):.0f} seconds {'ago' if off > 0 else 'ahead'}; at most {_SKEW_SECONDS} "
            "are allowed: set the clock of the machine that sends it"
        )


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
