"""Admission, queue and batches: what waits when the device gets free is scored together.

A request that comes alone is scored at once and alone, by all threads of the CPU; nothing waits for a batch to fill.
What comes together is dealt out to the lanes, a thread of the CPU each.
"""

import asyncio
import math
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field

from gpu.inspection import Inspection
from inference.engine import Engine, Prepared, workers
from storage.replica_call import EXPLAIN_REGIONS

# A GPU gains from larger batches until it is filled; CPUs gain little, and the first of a batch waits for its last.
LARGEST_BATCH = 8
_WAITS = 1000  # remembered at most: a model whose units stay as many is never asked how long its images waited


class Full(Exception):
    """As many requests as were agreed wait already; the message says how many."""


@dataclass(frozen=True)
class Answer:
    """The body of an answer, and the seconds its image waited, was decoded, and was scored in its batch."""

    body: bytes
    is_anomalous: bool
    queue: float
    decode: float
    score: float


@dataclass
class _Request:
    data: bytes
    explain: frozenset[str]
    answer: Future[Answer] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)  # when it began to wait for what comes next
    queue: float = 0.0
    decode: float = 0.0
    prepared: Prepared | None = None


class _Turns:
    """Either one batch has the whole CPU, or each lane scores one of its own."""

    def __init__(self) -> None:
        self._changed, self._whole, self._lanes = threading.Condition(), False, 0

    @contextmanager
    def take(self, *, whole: bool) -> Iterator[None]:
        """Wait for the CPU, or for a part of it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._whole and not (whole and self._lanes))
            self._whole, self._lanes = whole, self._lanes + (not whole)
        try:
            yield
        finally:
            with self._changed:
                self._whole, self._lanes = False, self._lanes - (not whole)
                self._changed.notify_all()


class Batcher:
    """Takes at most `most_waiting` requests at once and decodes on `threads` threads.

    `waiting` are the requests at hand; `batches` and `images` count what was scored.
    """

    def __init__(self, engine: Engine, most_waiting: int, threads: int = 1) -> None:
        self.engine, self._most = engine, most_waiting
        self.waiting = self.batches = self.images = 0
        self._decoders = workers(threads, "decode")
        # Threads of their own: answers that are ready do not stand behind images that wait to be decoded.
        self._writers = workers(threads, "result")
        self._turns, self._counting = _Turns(), threading.Lock()
        self._decoded: deque[_Request] = deque()
        self._waits: deque[float] = deque(maxlen=_WAITS)
        self._filled = False
        self._at_hand, self._went_on = 0, 0.0

    @property
    def decoded(self) -> int:
        """Images that wait for the device, and for nothing else."""
        return len(self._decoded)

    @contextmanager
    def admission(self) -> Iterator[None]:
        """A place for one request, taken before its body is read. Raises Full."""
        if self.waiting >= self._most:
            raise Full(f"{self.waiting} images wait already")
        self.waiting += 1
        self._filled |= self.waiting == self._most
        try:
            yield
        finally:
            self.waiting -= 1

    def take_wait(self) -> float:
        """What half of the images scored since the last call have waited at least (s); endless where it was full."""
        waits, filled = self._waits, self._filled
        self._waits, self._filled = deque(maxlen=_WAITS), False
        return math.inf if filled else statistics.median(waits) if waits else 0.0

    def stalled(self) -> float:
        """Seconds in which no image went on, where some are at hand; else 0."""
        return time.monotonic() - self._went_on if self._at_hand else 0.0

    async def detect(self, data: bytes, explain: frozenset[str] = frozenset()) -> Answer:
        """The answer for an image file, with the explanations asked for, words of EXPLAIN_HEADER.

        Where the caller is cancelled, the image costs nothing more: it is passed over by the step that comes next.
        Raises ImageError, with what is wrong with the image.
        """
        request = _Request(data, explain)
        if not self._at_hand:
            self._went_on = request.since
        self._at_hand += 1
        try:
            self._decoders.submit(self._decode, request)
            return await asyncio.wrap_future(request.answer)
        finally:
            self._at_hand -= 1

    def _decode(self, request: _Request) -> None:
        if request.answer.cancelled():
            return
        started = time.monotonic()
        try:
            request.prepared = self.engine.decode(request.data)
        except Exception as error:
            if request.answer.set_running_or_notify_cancel():
                request.answer.set_exception(error)
            return
        request.data = b""
        request.queue, request.decode = started - request.since, time.monotonic() - started
        request.since = self._went_on = time.monotonic()
        self._decoded.append(request)
        # Once for each image: the first of these calls take all that wait, those that then find nothing return.
        whole = self._at_hand == 1
        (self.engine.device if whole else self.engine.lanes).submit(self._score, whole)

    def _score(self, whole: bool) -> None:
        with self._turns.take(whole=whole):
            started = time.monotonic()
            if batch := self._take(started):
                self._score_together(batch, started)

    def _take(self, moment: float) -> list[tuple[_Request, Prepared]]:
        """A lane's share of the images that wait."""
        batch: list[tuple[_Request, Prepared]] = []
        with self._counting:
            share = min(LARGEST_BATCH, math.ceil(len(self._decoded) / self.engine.lane_count))
            while self._decoded and len(batch) < share:
                request = self._decoded.popleft()
                if request.prepared is not None and request.answer.set_running_or_notify_cancel():
                    request.queue += moment - request.since
                    self._waits.append(request.queue)
                    batch.append((request, request.prepared))
        return batch

    def _score_together(self, batch: list[tuple[_Request, Prepared]], started: float) -> None:
        explained = [number for number, (request, _) in enumerate(batch) if EXPLAIN_REGIONS in request.explain]
        try:
            inspections = self.engine.score([prepared for _, prepared in batch], explained)
        except Exception as error:
            if len(batch) == 1:
                batch[0][0].answer.set_exception(error)
            else:  # together they may need more memory than there is, or one of them may harm the others
                for alone in batch:
                    self._score_together([alone], time.monotonic())
            return
        with self._counting:
            self.batches, self.images = self.batches + 1, self.images + len(batch)
        self._went_on = time.monotonic()
        seconds = self._went_on - started
        for (request, prepared), inspection in zip(batch, inspections, strict=True):
            self._writers.submit(self._write, request, prepared, inspection, seconds)

    def _write(self, request: _Request, prepared: Prepared, inspection: Inspection, score: float) -> None:
        try:
            body = self.engine.result(prepared, inspection, request.explain)
            answer = Answer(body, inspection.is_anomalous, request.queue, request.decode, score)
        except Exception as error:
            request.answer.set_exception(error)
        else:
            request.answer.set_result(answer)
