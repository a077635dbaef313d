"""The page that Prometheus reads: the counters of the API, and how units and replicas are at this moment.

Replicas are asked when the page is: their ports change with every start and are often reached by the API alone, so that
Prometheus could neither find them nor read pages of their own.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.detections import LABELS, NAMESPACE, Detections
from api.replicas import Replicas
from storage.records import Unit, now
from storage.replica_call import Figures
from storage.stores import Stores

_UNIT_LABELS = (*LABELS, "unit")


async def metrics_page(stores: Stores, replicas: Replicas, detections: Detections) -> Response:
    """Everything, in the text format of Prometheus."""
    units = [unit for unit in await run_in_threadpool(stores.hosting.units) if unit.wanted]
    serving = [unit for unit in units if unit.address is not None and unit.lease_until > now()]
    figures = await asyncio.gather(*(replicas.figures(unit) for unit in serving))
    moment = CollectorRegistry()
    moment.register(_Moment([*_unit_counts(units, serving), *_replica_figures(serving, figures)]))
    return Response(detections.page() + generate_latest(moment), media_type=CONTENT_TYPE_LATEST)


class _Moment(Collector):
    """Figures that were gathered already."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def _unit_counts(wanted: Sequence[Unit], serving: Sequence[Unit]) -> Iterator[Metric]:
    models = [_model(unit) for unit in wanted]
    there = Counter(_model(unit) for unit in serving)
    desired = GaugeMetricFamily(f"{NAMESPACE}_DesiredInferenceUnits", "inference units wanted", labels=LABELS)
    in_service = GaugeMetricFamily(f"{NAMESPACE}_InServiceInferenceUnits", "inference units that serve", labels=LABELS)
    for model, count in Counter(models).items():
        desired.add_metric(model, count)
        in_service.add_metric(model, there[model])
    yield from (desired, in_service)


def _replica_figures(units: Sequence[Unit], figures: Sequence[Figures | None]) -> Iterator[Metric]:
    depth = GaugeMetricFamily(f"{NAMESPACE}_QueueDepth", "requests at hand in a replica", labels=_UNIT_LABELS)
    size = SummaryMetricFamily(f"{NAMESPACE}_BatchSize", "images that were scored together", labels=_UNIT_LABELS)
    memory = GaugeMetricFamily(
        f"{NAMESPACE}_DeviceMemory", "held on the GPU, or by the process on a CPU", labels=_UNIT_LABELS, unit="bytes"
    )
    for unit, found in zip(units, figures, strict=True):
        if found is not None:
            labels = (*_model(unit), str(unit.slot))
            depth.add_metric(labels, found["waiting"])
            size.add_metric(labels, count_value=found["batches"], sum_value=found["images"])
            memory.add_metric(labels, found["device_memory"])
    yield from (depth, size, memory)


def _model(unit: Unit) -> tuple[str, str]:
    return unit.project, str(unit.version)
