"""Where the time of a training goes, found out from outside: no line of the product measures itself."""

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

from gpu import coreset, images, neighbours
from gpu.inspection import Inspector
from gpu.patch_embedding import Embedding
from trainer.reading import Reading

_FINAL, _CALIBRATION = "final", "calibration"


class Stopwatch:
    """Seconds by phase. Wall time of the main thread, but for `decode`, which is CPU time of the reading threads.

    `progress` is to be given to the training: it tells which selection is that of the model itself.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._stage = _CALIBRATION
        self._thread, self._lock = threading.local(), threading.Lock()

    def progress(self, phase: str, fraction: float) -> None:
        """The training's own word of what it does."""
        if phase.startswith("Fitting"):
            self._stage = "evaluation" if fraction >= 1 else _FINAL

    def timed(
        self, function: Callable[..., Any], phase: str | Callable[[], str], clock: Callable[[], float]
    ) -> Callable[..., Any]:
        """The function, timed; what it calls in its thread counts as its own."""

        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            if getattr(self._thread, "busy", False):
                return function(*arguments, **named)
            name = phase if isinstance(phase, str) else phase()
            self._thread.busy, started = True, clock()
            try:
                return function(*arguments, **named)
            finally:
                self._thread.busy = False
                with self._lock:
                    self.seconds[name] += clock() - started

        return call

    @contextmanager
    def running(self) -> Iterator[None]:
        """Measure what runs meanwhile, in whichever module the measured functions are used."""
        wall = time.perf_counter
        with ExitStack() as stack:
            for function, phase in (
                (coreset.farthest_first, self._selection),
                (coreset.project, self._selection),
                (neighbours.nearest, "calibration, search"),
            ):
                stack.enter_context(_replaced(function, self.timed(function, phase, wall)))
            stack.enter_context(_replaced(images.prepare, self.timed(images.prepare, "decode", time.thread_time)))
            for owner, name, timed in (
                (Embedding, "embed", self.timed(Embedding.embed, "backbone", wall)),
                (Inspector, "inspect", self.timed(Inspector.inspect, "evaluation", wall)),
                (Reading, "dimensions", self.timed(Reading.dimensions, "headers", wall)),
                (Reading, "prepared", self._waiting(Reading.prepared)),
            ):
                before = getattr(owner, name)
                setattr(owner, name, timed)
                stack.callback(setattr, owner, name, before)
            yield

    def _selection(self) -> str:
        return "coreset" if self._stage == _FINAL else "calibration, coreset"

    def _waiting(self, prepared: Callable[..., Iterator[Any]]) -> Callable[..., Iterator[Any]]:
        """The time in which the main thread has nothing to do until the next image is ready."""

        def call(*arguments: Any, **named: Any) -> Generator[Any, None, None]:
            items = prepared(*arguments, **named)
            end = object()
            following = self.timed(lambda: next(items, end), self._images, time.perf_counter)
            while (item := following()) is not end:
                yield item

        return call

    def _images(self) -> str:
        return "evaluation" if self._stage == "evaluation" else "waiting for images"


@contextmanager
def _replaced(function: Callable[..., Any], other: Callable[..., Any]) -> Iterator[None]:
    """Every module that has the function by name has the other one instead."""
    places = [
        (module, name)
        for module in list(sys.modules.values())
        for name, value in list(getattr(module, "__dict__", {}).items())
        if value is function
    ]
    for module, name in places:
        setattr(module, name, other)
    try:
        yield
    finally:
        for module, name in places:
            setattr(module, name, function)
