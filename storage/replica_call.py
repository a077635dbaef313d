"""What the API and a replica say to each other over HTTP, and how either gives up work that nobody waits for."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypedDict, TypeVar

from starlette.requests import ClientDisconnect, Request

EXPLAIN_HEADER = "X-Vigil-Explain"  # of a detection: what is to come with it, separated by commas
EXPLAIN_MAP, EXPLAIN_REGIONS = "map", "regions"
TIMING_HEADER = "Server-Timing"  # of the answer: queue, decode and score in milliseconds
ANOMALOUS_HEADER = "X-Vigil-Anomalous"  # of the answer: true or false, for who does not read its body
CLIENT_LEFT = 499  # the status of an answer that nobody is there to read
KEEP_ALIVE_SECONDS = 60.0  # the API keeps an idle connection to a replica so long, the replica a little longer

_T = TypeVar("_T")


class Figures(TypedDict):
    """A replica's answer to the question how it is; since its start it has scored `images` in `batches`."""

    replica: str
    waiting: int
    stalled: float  # seconds in which no image went on though some are at hand
    batches: int
    images: int
    device_memory: int  # bytes


async def while_wanted(request: Request, work: Coroutine[Any, Any, _T]) -> _T:
    """The result of the work, which is cancelled when the client of the request leaves. Raises ClientDisconnect then.

    The body of the request has to be read before.
    """
    result = asyncio.ensure_future(work)
    left = asyncio.ensure_future(request.receive())  # after the body there is only one message more: the client left
    try:
        await asyncio.wait((result, left), return_when=asyncio.FIRST_COMPLETED)
        if not result.done():
            raise ClientDisconnect
        return result.result()
    finally:
        result.cancel()
        left.cancel()
