"""The replica's HTTP face: one image in, one answer out, and no more of them waiting than were agreed."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpu.images import ImageError
from inference.engine import Engine
from storage.hosting import EXPLAIN_HEADER

_RETRY_SECONDS = "1"

log = logging.getLogger(__name__)


class Server:
    """Answers for one replica only: an address may have belonged to a replica of another model before."""

    def __init__(self, engine: Engine, replica: str, most_waiting: int, max_bytes: int) -> None:
        self._engine, self._replica = engine, replica
        self._most, self._max_bytes, self._waiting = most_waiting, max_bytes, 0

    def app(self, started: Callable[[], None]) -> Starlette:
        """The ASGI application; `started` is called in a thread once it takes requests."""

        @asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            await run_in_threadpool(started)
            yield

        routes = [
            Route("/{replica}/detect", self.detect, methods=["POST"]),
            Route("/{replica}/health", self.health, methods=["GET"]),
        ]
        return Starlette(routes=routes, lifespan=lifespan)

    async def detect(self, request: Request) -> Response:
        """The answer of DetectAnomalies; 421 for another replica, 503 when too many wait, 422 for a bad image."""
        if (refusal := self._refuse_other(request)) is not None:
            return refusal
        if self._waiting >= self._most:
            message = f"{self._waiting} images wait already"
            return JSONResponse({"message": message}, 503, headers={"Retry-After": _RETRY_SECONDS})
        self._waiting += 1
        try:
            data = await self._body(request)
            asked = {word.strip() for word in request.headers.get(EXPLAIN_HEADER, "").split(",")}
            return Response(await self._engine.detect(data, asked), media_type="application/json")
        except ImageError as error:
            return JSONResponse({"message": str(error)}, 422)
        except Exception as error:
            log.exception("an image could not be inspected")
            return JSONResponse({"message": f"the replica failed ({type(error).__name__}); see its log"}, 500)
        finally:
            self._waiting -= 1

    async def health(self, request: Request) -> Response:
        """Whether this replica is there, and how many images it has at hand."""
        return self._refuse_other(request) or JSONResponse({"replica": self._replica, "waiting": self._waiting})

    async def _body(self, request: Request) -> bytes:
        data = bytearray()
        async for chunk in request.stream():
            data += chunk
            if len(data) > self._max_bytes:
                raise ImageError(f"The image has more than {self._max_bytes:,} bytes. Send a smaller file.")
        return bytes(data)

    def _refuse_other(self, request: Request) -> Response | None:
        asked = request.path_params["replica"]
        if asked == self._replica:
            return None
        return JSONResponse({"message": f"replica {asked} is not here"}, 421)
