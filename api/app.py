"""The application: its middleware as one list, its error handlers, and every operation mounted."""

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from urllib.parse import unquote

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import errors
from api.auth import METRICS_PATH, Authentication
from api.deps import CallerDep
from api.detections import Detections
from api.metrics import metrics_page
from api.operation import mount
from api.operations import datasets, detection, hosting, models, projects, tags
from api.replicas import Replicas
from storage.errors import StorageError
from storage.settings import Settings
from storage.stores import Stores, open_stores

log = logging.getLogger(__name__)

OPERATION_MODULES = (projects, datasets, models, hosting, detection, tags)


class RequestId:
    """Middleware: gives every request an id, and its answer the header x-amzn-RequestId."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        id_ = str(uuid.uuid4())
        # The answer to an unexpected failure does not pass here; its handler takes the id from the request.
        scope.setdefault("state", {})["request_id"] = id_

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[errors.REQUEST_ID] = id_
            await send(message)

        await self._app(scope, receive, with_id if scope["type"] == "http" else send)


class PathSegments:
    """Middleware: an encoded slash stays part of its path segment, as in ARNs of tags or in a wrong project name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its path decoded segment by segment."""
        if scope["type"] == "http":
            raw = scope["raw_path"].decode("ascii", "replace")
            scope["path"] = "/".join(unquote(part).replace("/", "%2F") for part in raw.split("/"))
        await self._app(scope, receive, send)


class JsonBodies:
    """Middleware: a body that is no image is JSON, whatever its Content-Type: AWS's clients call it variously."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] == "http" and not scope["path"].endswith("/detect"):
            MutableHeaders(scope=scope)["Content-Type"] = "application/json"
        await self._app(scope, receive, send)


def create_app(settings: Settings, stores: Stores | None = None) -> FastAPI:
    """The API over the stores that the settings name."""
    opened = stores or open_stores(settings)
    replicas, detections = Replicas(opened), Detections()

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with replicas:
            yield

    app = FastAPI(
        title="Vigil",
        version=version("vigil"),
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        middleware=[
            Middleware(RequestId),
            Middleware(PathSegments),
            Middleware(Authentication, keys=opened.keys, max_image_bytes=settings.max_image_bytes),
            Middleware(JsonBodies),
        ],
        redirect_slashes=False,
        exception_handlers={
            errors.ServiceError: errors.on_service_error,
            StorageError: errors.on_storage_error,
            DBAPIError: errors.on_database_error,
            RequestValidationError: errors.on_validation_error,
            HTTPException: errors.on_http_exception,
            Exception: errors.on_unexpected_error,
        },
    )
    app.state.stores, app.state.replicas, app.state.detections = opened, replicas, detections
    mount(app)
    _mount_health(app, opened)

    @app.get(METRICS_PATH, include_in_schema=False)
    async def metrics(caller: CallerDep) -> Response:
        if caller.projects is not None:
            raise errors.AccessDeniedException(
                f"the access key '{caller.key}' is limited to projects; the metrics are about all of them"
            )
        return await metrics_page(opened, replicas, detections)

    return app


def _mount_health(app: FastAPI, stores: Stores) -> None:
    @app.get("/healthz", include_in_schema=False)
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> JSONResponse:
        try:
            stores.catalogue.projects(limit=1)
            stores.objects.check()
        except StorageError as error:
            return _not_ready(str(error))
        except Exception as error:
            # Whoever asks is not known here, so what the database says stays in the log.
            log.warning("the catalogue cannot be read", exc_info=error)
            return _not_ready(f"the catalogue cannot be read ({type(error).__name__}); the log says why")
        return JSONResponse({"status": "ready"})


def _not_ready(reason: str) -> JSONResponse:
    return JSONResponse({"status": "not ready", "reason": reason}, 503)
