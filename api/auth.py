"""Who calls: every request but the health checks carries a Signature Version 4, verified here before anything else."""

import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import credential, signature
from api.errors import AccessDeniedException, ServiceError, ValidationException, from_storage
from storage.access import AccessKey, AccessKeys
from storage.errors import StorageError
from storage.records import Role

log = logging.getLogger(__name__)

METRICS_PATH = "/metrics"
OPEN_PATHS = frozenset({"/healthz", "/readyz"})
LARGEST_REQUEST = 16 * 1024 * 1024
_REMEMBERED_SECONDS = 1.0


@dataclass(frozen=True)
class Caller:
    """The access key that signed a request, its role, and the projects that it is limited to; None: all."""

    key: str
    role: Role
    projects: frozenset[str] | None


class Authentication:
    """Middleware: reads the body (bounded), verifies the signature over it, and hands both on."""

    def __init__(self, app: ASGIApp, keys: AccessKeys, max_image_bytes: int) -> None:
        self._app, self._keys, self._max_image_bytes = app, Keyring(keys), max_image_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it with what is wrong."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        try:
            body, digest = await self._body(request)
            scope.setdefault("state", {})["caller"] = await self._caller(request, digest)
        except StorageError as error:
            await from_storage(error).response()(scope, receive, send)
            return
        except ServiceError as error:
            log.warning("%s %s is refused: %s", request.method, request.url.path, error)
            await error.response()(scope, receive, send)
            return
        await self._app(scope, _replay(body, receive), send)

    async def _caller(self, request: Request, digest: str) -> Caller:
        authorization = request.headers.get("authorization", "")
        if request.url.path == METRICS_PATH and authorization[:6].lower() == "basic ":
            return await verify_basic(authorization[6:], self._keys)
        return await verify(request, digest, self._keys)

    async def _body(self, request: Request) -> tuple[bytes, str]:
        detect = request.url.path.endswith("/detect")
        limit = self._max_image_bytes if detect else LARGEST_REQUEST
        what = "the image" if detect else "the body of the request"
        chunks, size, digest = [], 0, hashlib.sha256()
        async for chunk in request.stream():
            size += len(chunk)
            # Read to the end, but keep nothing: a client that is cut off while it sends never sees the answer.
            if size <= limit:
                # Piece by piece: the digest of a large image at once would hold up all other requests.
                digest.update(chunk)
                chunks.append(chunk)
            elif size > 8 * limit:
                break
        if size > limit:
            raise ValidationException(f"{what} is larger than {limit:,} bytes, the most that is allowed")
        return b"".join(chunks), digest.hexdigest()


class Keyring:
    """Access keys by id. One that was found is remembered for a second, and a revoked one works no longer than that.

    Where the catalogue does not answer, nobody can tell who may call: then too nothing is remembered for longer.
    """

    def __init__(self, keys: AccessKeys) -> None:
        self._keys = keys
        self._found: dict[str, tuple[float, AccessKey]] = {}

    async def find(self, id_: str) -> AccessKey | None:
        """The key with this id. Raises StorageError where it cannot be read."""
        asked = time.monotonic()
        found, key = self._found.get(id_, (-_REMEMBERED_SECONDS, None))
        if key is not None and asked - found < _REMEMBERED_SECONDS:
            return key
        key = await run_in_threadpool(self._keys.find, id_)
        fresh = {name: entry for name, entry in self._found.items() if asked - entry[0] < _REMEMBERED_SECONDS}
        self._found = fresh if key is None else {**fresh, id_: (asked, key)}
        return key


async def verify(request: Request, body_sha256: str, keys: Keyring) -> Caller:
    """Who signed the request. Raises AccessDeniedException that says what is wrong with the signature."""
    headers = _joined(request)
    query = request.scope["query_string"].decode("ascii", "replace")
    claim = credential.presented(headers, query)
    _check_body(headers, body_sha256)
    key = await keys.find(claim.key)
    if key is None:
        raise AccessDeniedException(f"the access key '{claim.key}' is not known to this service")
    path = request.scope["raw_path"].decode("ascii", "replace")
    signed = signature.SignedRequest(request.method, path, claim.query, headers, body_sha256)
    expected = signed.signature(key.secret, claim.scope, claim.time, claim.headers)
    if not hmac.compare_digest(expected.encode(), claim.signature.encode()):
        raise AccessDeniedException(
            f"the signature does not fit the request: the secret that belongs to '{key.id}' is another one, "
            "or the request was changed on its way"
        )
    return Caller(key.id, key.role, key.projects)


async def verify_basic(credentials: str, keys: Keyring) -> Caller:
    """Whose id and secret these are, in HTTP Basic: for the metrics, since Prometheus cannot sign what it asks.

    Raises AccessDeniedException.
    """
    try:
        id_, _, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
    except ValueError:
        raise AccessDeniedException(
            "the Authorization header is not what HTTP Basic says: Base64 of ID:SECRET"
        ) from None
    key = await keys.find(id_)
    if key is None or not hmac.compare_digest(secret.encode(), key.secret.encode()):
        raise AccessDeniedException(f"'{id_}' is no access key of this service, or its secret is another one")
    return Caller(key.id, key.role, key.projects)


def _joined(request: Request) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    return headers


def _check_body(headers: Mapping[str, str], body_sha256: str) -> None:
    declared = headers.get("x-amz-content-sha256", body_sha256)
    if declared.startswith("STREAMING-") or "aws-chunked" in headers.get("content-encoding", ""):
        raise AccessDeniedException(
            "bodies in the encoding aws-chunked are not accepted; sign the whole body, and send it at once or with "
            "Transfer-Encoding: chunked"
        )
    if declared == "UNSIGNED-PAYLOAD":
        raise AccessDeniedException("the signature must cover the body; UNSIGNED-PAYLOAD is for Amazon S3 only")
    if declared != body_sha256:
        raise AccessDeniedException("x-amz-content-sha256 is not the SHA-256 of the body that arrived")


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
