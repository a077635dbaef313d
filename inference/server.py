"""The replica's HTTP face: one image in, one answer out, and no more of them waiting than were agreed."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from gpu.images import ImageError
from inference.batcher import Answer, Batcher, Full
from storage.replica_call import (
    ANOMALOUS_HEADER,
    CLIENT_LEFT,
    EXPLAIN_HEADER,
    TIMING_HEADER,
    Figures,
    while_wanted,
)

_RETRY_SECONDS = "1"

log = logging.getLogger(__name__)


class Server:
    """Answers for one replica only: an address may have belonged to a replica of another model before."""

    def __init__(self, batcher: Batcher, replica: str, max_bytes: int) -> None:
        self._batcher, self._replica, self._max_bytes = batcher, replica, max_bytes

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
        try:
            with self._batcher.admission():
                data = await self._body(request)
                asked = frozenset(word.strip() for word in request.headers.get(EXPLAIN_HEADER, "").split(","))
                answer = await while_wanted(request, self._batcher.detect(data, asked))
        except Full as error:
            return JSONResponse({"message": str(error)}, 503, headers={"Retry-After": _RETRY_SECONDS})
        except ImageError as error:
            return JSONResponse({"message": str(error)}, 422)
        except ClientDisconnect:
            return Response(status_code=CLIENT_LEFT)
        except Exception as error:
            log.exception("an image could not be inspected")
            return JSONResponse({"message": f"the replica failed ({type(error).__name__}); see its log"}, 500)
        headers = {TIMING_HEADER: _timing(answer), ANOMALOUS_HEADER: str(answer.is_anomalous).lower()}
        return Response(answer.body, media_type="application/json", headers=headers)

    async def health(self, request: Request) -> Response:
        """Whether this replica is there, and its figures."""
        batcher = self._batcher
        figures: Figures = {
            "replica": self._replica,
            "waiting": batcher.waiting,
            "stalled": batcher.stalled(),
            "batches": batcher.batches,
            "images": batcher.images,
            "device_memory": batcher.engine.memory(),
        }
        return self._refuse_other(request) or JSONResponse(figures)

    async def _body(self, request: Request) -> bytes:
        chunks, size = [], 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > self._max_bytes:
                raise ImageError(f"The image has more than {self._max_bytes:,} bytes. Send a smaller file.")
            chunks.append(chunk)
        return b"".join(chunks)

    def _refuse_other(self, request: Request) -> Response | None:
        asked = request.path_params["replica"]
        if asked == self._replica:
            return None
        return JSONResponse({"message": f"replica {asked} is not here"}, 421)


def _timing(answer: Answer) -> str:
    steps = {"queue": answer.queue, "decode": answer.decode, "score": answer.score}
    return ", ".join(f"{name};dur={seconds * 1000:.1f}" for name, seconds in steps.items())
