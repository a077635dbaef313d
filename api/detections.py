"""What is kept of every detection: Prometheus's counters, and one line in the log.

The counters are called as Lookout for Vision called its own in CloudWatch, with `vigil_` in front.
"""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.requests import ClientDisconnect

from api.errors import ServiceError, ThrottlingException, ValidationException
from api.replicas import Answer
from storage.records import Serving

NAMESPACE = "vigil"
SHARED_COUNTERS = "PROMETHEUS_MULTIPROC_DIR"  # of prometheus-client: the folder in which processes count together
LABELS = ("project", "model_version")
_BUCKETS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 2, 5, 10, 20)  # seconds
_COUNTED = {
    "ProcessedImageCount": "images that were judged",
    "DetectedAnomalyCount": "images that were judged anomalous",
    "InvalidImageCount": "images that could not be accepted, with what was wrong in the answer",
    "SuccessfulRequestCount": "requests that were answered with a decision",
    "ErrorCount": "requests that were answered with an error, those throttled aside",
    "ThrottledCount": "requests that were refused because all inference units were busy",
}

log = structlog.wrap_logger(
    logging.getLogger(__name__),
    processors=[structlog.processors.LogfmtRenderer(key_order=["event"])],
    wrapper_class=structlog.stdlib.BoundLogger,
)


@dataclass
class Watched:
    """A request on its way; its answer is put here."""

    answer: Answer | None = None


class Detections:
    """The detections of this process and of those that count with it, by project and model version.

    Only models that there are get a label.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # when a counter began is of no use here, and doubles the page
        self._registry = CollectorRegistry()
        self._counters = {
            name: Counter(name, what, LABELS, namespace=NAMESPACE, registry=self._registry)
            for name, what in _COUNTED.items()
        }
        what = "from the request to the answer, of requests that were answered with a decision"
        self._time = Histogram(
            "Time", what, LABELS, namespace=NAMESPACE, unit="seconds", buckets=_BUCKETS, registry=self._registry
        )

    def page(self) -> bytes:
        """The counters, in the text format of Prometheus."""
        if SHARED_COUNTERS not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)

    @contextmanager
    def watch(self, serving: Serving, request_id: str, key: str) -> Iterator[Watched]:
        """Count one request and log it at its end, whichever way it ends."""
        watched, started, error = Watched(), time.perf_counter(), None
        try:
            yield watched
        except Exception as raised:
            error = raised
            raise
        finally:
            seconds = time.perf_counter() - started
            for name in _names(watched.answer, error):
                self._counters[name].labels(serving.project, serving.version).inc()
            if watched.answer is not None:
                self._time.labels(serving.project, serving.version).observe(seconds)
            log.info(
                "detection",
                request=request_id,
                key=key,
                project=serving.project,
                version=serving.version,
                decision=_decision(watched.answer, error),
                ms=round(seconds * 1000, 1),
                **_times(watched.answer),
            )


def _names(answer: Answer | None, error: Exception | None) -> tuple[str, ...]:
    """The counters that a request belongs to."""
    match error:
        case None if answer is not None:
            anomaly = ("DetectedAnomalyCount",) if answer.is_anomalous else ()
            return ("ProcessedImageCount", "SuccessfulRequestCount", *anomaly)
        case None | ClientDisconnect():
            return ()
        case ThrottlingException():
            return ("ThrottledCount",)
        case ValidationException():
            return ("InvalidImageCount", "ErrorCount")
        case _:
            return ("ErrorCount",)


def _decision(answer: Answer | None, error: Exception | None) -> str:
    if answer is not None:
        return "anomaly" if answer.is_anomalous else "normal"
    if isinstance(error, ServiceError):
        return type(error).__name__
    return "client left" if error is None or isinstance(error, ClientDisconnect) else "failed"


def _times(answer: Answer | None) -> dict[str, str]:
    """queue_ms, decode_ms and score_ms, as the replica told them."""
    steps = re.findall(r"(\w+);dur=([\d.]+)", answer.timing) if answer else []
    return {f"{name}_ms": milliseconds for name, milliseconds in steps}
