"""Units on a Ray cluster: an application of Ray Serve for each model, whose replicas Ray places, restarts and scales.

Every node needs Vigil, the same settings and servers that it reaches. Ray is an optional dependency.
"""

import logging
import os
import threading
import time
from collections import defaultdict
from typing import Any
from urllib.parse import quote
from uuid import uuid4

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read when ray is imported: nothing leaves the plant

import ray
import torch
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, ProxyLocation
from ray.serve.schema import ApplicationStatus
from starlette.applications import Starlette

from inference.batcher import Batcher
from inference.replica import EVERYWHERE, UnusableModel, wait_for_engine
from inference.server import Server
from storage import messages
from storage.database import unless_away
from storage.errors import Conflict, Missing
from storage.pulse import Pulse
from storage.records import Model, ModelStatus, Unit
from storage.settings import Settings
from storage.stores import Stores, open_stores

ROOM = 1024  # units of one cluster
_GPU_SHARE = 0.25  # of a GPU for each replica, where the cluster has GPUs
_TRIES = 3  # of a replica that does not start
_STOP_SECONDS = 5.0  # for requests at hand when a replica is stopped
_HEAD = "node:__internal_head__"  # the resource by which Ray marks its first node

log = logging.getLogger(__name__)


class Cluster:
    """Claims wanted units and keeps an application for each model of theirs. One thread, one round at a time."""

    def __init__(self, stores: Stores, name: str) -> None:
        """Join the cluster of `VIGIL_RAY_ADDRESS`. Raises ConnectionError where none is there."""
        self._stores, self._hosting, self._name = stores, stores.hosting, name
        self._pulse = Pulse(stores.settings, "inference")
        self._keep_at = 0.0
        self._applications: dict[tuple[str, int], str] = {}
        self._prefix = f"vigil.{quote(name, safe='')}."
        settings = stores.settings
        ray.init(settings.ray_address, logging_level=logging.WARNING)
        serve.start(ProxyLocation.HeadOnly, HTTPOptions(host=settings.replica_address, port=settings.ray_http_port))
        reached = _head() if settings.replica_address in EVERYWHERE else settings.replica_address
        self._proxy = f"{reached}:{settings.ray_http_port}"

    def run(self, stopped: threading.Event) -> None:
        """Reconcile until stopped; the units stay wanted."""
        unless_away(self._clear)
        while not stopped.wait(self._stores.settings.reconcile_seconds):
            unless_away(self._round)
        unless_away(self._clear)

    def _clear(self) -> None:
        """Nothing of this host serves: what another process of its name has left does not count."""
        self._hosting.forget(self._name)
        for application in serve.status().applications:
            if application.startswith(self._prefix):
                serve.delete(application)

    def _round(self) -> None:
        self._pulse.beat()
        self._hosting.claim(self._name, ROOM)
        moment = time.monotonic()
        keep = moment >= self._keep_at
        if keep:
            self._keep_at = moment + self._stores.settings.heartbeat_seconds
        held = defaultdict(list)
        for unit in self._hosting.units(self._name):
            held[unit.project, unit.version].append(unit)
        for key, units in held.items():
            try:
                self._reconcile(key, units, keep=keep)
            except (Conflict, Missing) as error:
                log.info("%s", error)  # the next round sees what has become of it
        for key in self._applications.keys() - held.keys():
            serve.delete(self._applications.pop(key))
        self._hosting.clear()

    def _reconcile(self, key: tuple[str, int], units: list[Unit], *, keep: bool) -> None:
        wanted = [unit for unit in units if unit.wanted]
        if not wanted and key in self._applications:
            serve.delete(self._applications.pop(key))
        elif wanted and key not in self._applications:
            model = self._stores.catalogue.model(*key)
            self._applications[key] = self._deploy(model, len(wanted))
        for unit in units:
            if not unit.wanted:
                self._hosting.release(self._name, unit)
            elif keep:
                self._hosting.keep(self._name, unit)
        if starting := [unit for unit in wanted if unit.address is None]:
            self._tell(key, starting)

    def _tell(self, key: tuple[str, int], starting: list[Unit]) -> None:
        """Write into the units how their application is."""
        application = self._applications[key]
        found = serve.status().applications.get(application)
        if found is not None and found.status == ApplicationStatus.RUNNING:
            for unit in starting:
                self._hosting.ready(self._name, unit, application, f"{self._proxy}/{application}")
        elif found is not None and found.status == ApplicationStatus.DEPLOY_FAILED:
            log.error("%s/%d cannot be hosted: %s", *key, found.message)
            model = self._stores.catalogue.model(*key)
            if model.status == ModelStatus.STARTING_HOSTING:
                reason = "Ray could not start its replicas; the inference host's log tells more."
                self._hosting.fail(model, messages.not_hosted(reason))

    def _deploy(self, model: Model, units: int) -> str:
        """→ the name of the application, under which its replicas answer, too"""
        application, settings = self._prefix + str(uuid4()), self._stores.settings
        scaling = AutoscalingConfig(
            min_replicas=units,
            initial_replicas=units,
            max_replicas=max(units, model.max_units or 0),
            upscale_delay_s=settings.scale_up_seconds,
            downscale_delay_s=settings.scale_down_seconds,
        )
        deployment = serve.deployment(
            _replica(model.project, model.version, application),
            name="replica",
            autoscaling_config=scaling,
            max_ongoing_requests=settings.replica_queue,
            max_queued_requests=settings.replica_queue,
            max_constructor_retry_count=_TRIES,
            graceful_shutdown_timeout_s=_STOP_SECONDS,
            ray_actor_options={"num_gpus": _GPU_SHARE if ray.cluster_resources().get("GPU") else 0},
        )
        target = serve.RunTarget(deployment.bind(), name=application, route_prefix=f"/{application}")
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        log.info("%s/%d is the application %s", model.project, model.version, application)
        return application


def _replica(project: str, version: int, application: str) -> Any:
    """What Ray makes replicas of: each is what `inference.replica` runs, without a port of its own."""

    def app() -> Starlette:
        return load_app(project, version, application)

    return serve.ingress(app)()


def load_app(project: str, version: int, application: str) -> Starlette:
    """The ASGI application of one replica, made in the process that serves it. Raises UnusableModel."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    stores = open_stores(Settings())
    model = stores.catalogue.model(project, version)
    threads = torch.get_num_threads()  # as many as Ray gives to a replica
    torch.set_num_threads(1)
    try:
        engine = wait_for_engine(stores, model, 0, threads)
    except UnusableModel as error:
        if model.status == ModelStatus.STARTING_HOSTING:
            stores.hosting.fail(model, messages.not_hosted(error))
        raise
    settings = stores.settings
    batcher = Batcher(engine, settings.replica_queue, threads)
    return Server(batcher, application, settings.max_image_bytes).app(lambda: None)


def _head() -> str:
    return next(str(node["NodeManagerAddress"]) for node in ray.nodes() if _HEAD in node["Resources"])
