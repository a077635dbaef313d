"""Units on a Ray cluster: two nodes of one processor each, on the loopback, and the host that hands units to them."""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from storage.objects import OWN_BUCKET
from storage.records import ModelStatus
from tests.conftest import client, free_port, serving, wait_until
from tests.inference.arrange import camera, trained_model, wait_for
from tests.inference.conftest import Start
from tests.processes import below, kill
from tests.trainer.plant import Plant, environment, part

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="units on a Ray cluster are not tested: Ray is not installed"
)
RAY = Path(sys.executable).with_name("ray")
Nodes = tuple["subprocess.Popen[bytes]", "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    opened = Plant(tmp_path_factory.mktemp("plant") / "data")
    yield opened
    opened.stores.database.close()


@pytest.fixture(scope="module")
def ray_address(plant: Plant) -> Iterator[tuple[str, Nodes]]:
    """The address of the cluster and its nodes, whose processes get the plant's settings."""
    folder, address = Path(tempfile.mkdtemp(prefix="ray")), f"127.0.0.1:{free_port()}"  # sockets need a short path
    given = os.environ | environment(plant.settings) | {"RAY_USAGE_STATS_ENABLED": "0"}
    common = ["--num-cpus=1", "--object-store-memory=100000000", "--node-ip-address=127.0.0.1", "--block"]
    head = ["--head", f"--port={address.rpartition(':')[2]}", f"--temp-dir={folder}", "--include-dashboard=false"]
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for arguments in (head, [f"--address={address}"]):
            nodes.append(subprocess.Popen([RAY, "start", *arguments, *common], env=given))
            wait_until(lambda: below(nodes[-1].pid, "raylet/raylet"), 60, "the node of the cluster")
        yield address, (nodes[0], nodes[1])
    finally:
        for node in nodes:
            kill([*below(node.pid), psutil.Process(node.pid)])
            node.wait()
        shutil.rmtree(folder, ignore_errors=True)


def test_ray_places_restarts_and_scales(
    plant: Plant, start: Start, trained: dict[bool, bytes], ray_address: tuple[str, Nodes]
) -> None:
    address, nodes = ray_address
    plant.stores.hosting.start(trained_model(plant, trained[False]), 1, 2)
    settings = {"VIGIL_RAY_ADDRESS": address, "VIGIL_RAY_HTTP_PORT": str(free_port()), "VIGIL_REPLICA_QUEUE": "4"}
    start(**settings, VIGIL_SCALE_UP_SECONDS="0.1", VIGIL_SCALE_DOWN_SECONDS="3")
    wait_for(plant, ModelStatus.HOSTED)
    with _cameras(plant, 6):
        wait_until(lambda: all(_replicas(node) for node in nodes), 90, "a replica on each node")
    decisions = _decide(plant)
    wait_until(lambda: len(_replicas(*nodes)) == 1, 90, "the replica to be given up")
    assert _decide(plant) == decisions
    with _cameras(plant, 1):
        killed = _replicas(*nodes)[0]
        killed.kill()
        wait_until(lambda: set(_replicas(*nodes)) - {killed}, 60, "a replica again")
    plant.stores.hosting.stop(plant.model())
    wait_for(plant, ModelStatus.TRAINED)
    assert not _replicas(*nodes)
    assert plant.stores.hosting.units() == []


def test_a_model_that_cannot_be_served_says_why(
    plant: Plant, start: Start, trained: dict[bool, bytes], ray_address: tuple[str, Nodes]
) -> None:
    model = trained_model(plant, trained[False])
    assert model.artefact is not None
    plant.stores.objects.put(OWN_BUCKET, model.artefact.key, trained[False][:-1] + b"\x01")
    plant.stores.hosting.start(model, 1, None)
    start(VIGIL_RAY_ADDRESS=ray_address[0], VIGIL_RAY_HTTP_PORT=str(free_port()))
    failed = wait_for(plant, ModelStatus.HOSTING_FAILED, model.version)
    assert "artefact cannot be used" in (failed.message or "")
    wait_until(lambda: not plant.stores.hosting.units(), 60, "the units to be released")


def _decide(plant: Plant) -> list[tuple[bool, float]]:
    key = plant.stores.keys.create()
    decisions = []
    with serving(plant.settings, plant.stores) as endpoint:
        lookout = client(endpoint, key)
        for image in (part(3)[0], part(4, "scratch")[0]):
            answer = lookout.detect_anomalies(
                ProjectName=plant.project, ModelVersion="1", Body=image, ContentType="image/png"
            )["DetectAnomalyResult"]
            decisions.append((answer["IsAnomalous"], answer["Confidence"]))
    return decisions


@contextmanager
def _cameras(plant: Plant, count: int) -> Iterator[None]:
    """Cameras that go on meanwhile, and of whose requests none fails."""
    key, over = plant.stores.keys.create(), threading.Event()

    def goes_on() -> bool:
        return not over.is_set()

    with serving(plant.settings, plant.stores) as endpoint, ThreadPoolExecutor(count) as pool:
        cameras = [pool.submit(camera, plant, endpoint, key, goes_on) for _ in range(count)]
        try:
            yield
        finally:
            over.set()
        assert all(asked.result() > 0 for asked in cameras)


def _replicas(*nodes: "subprocess.Popen[bytes]") -> list[psutil.Process]:
    # Ray calls such a process by what it does at the moment.
    words = ("ServeReplica", "SERVE_REPLICA")
    return [process for node in nodes for word in words for process in below(node.pid, word)]
