"""A real host with real replicas: what is wanted comes to run, whatever is killed."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict

import httpx
import psutil
import pytest

from storage.lifeline import spawn
from storage.objects import OWN_BUCKET, artefact_key
from storage.records import Model, ModelStatus
from tests.conftest import wait_until
from tests.trainer.plant import Plant, environment, part

Start = Callable[[], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(plant: Plant) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin() -> "subprocess.Popen[bytes]":
        started.append(spawn("inference.host", environment=environment(plant.settings)))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def trained_model(plant: Plant, data: bytes) -> Model:
    model, job = plant.create_model([])
    stored = plant.stores.objects.put(OWN_BUCKET, artefact_key(plant.project, model.version, job, 1), data)
    plant.stores.catalogue.move_model(model, ModelStatus.TRAINED, "…", artefact=asdict(stored))
    return plant.model(model.version)


def wait_for(plant: Plant, status: ModelStatus, version: int = 1) -> Model:
    wait_until(lambda: plant.model(version).status == status, 90, f"version {version} to be {status}")
    return plant.model(version)


def addresses(plant: Plant) -> list[tuple[str, str]]:
    return plant.stores.hosting.addresses(plant.project, 1)


def healthy(replica: str, address: str) -> bool:
    return httpx.get(f"http://{address}/{replica}/health", trust_env=False).status_code == 200


def test_life_of_a_hosted_model(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    model = trained_model(plant, trained[True])
    plant.stores.hosting.start(model, 2, None)
    host = start()
    wait_for(plant, ModelStatus.HOSTED)
    first, second = addresses(plant)
    assert healthy(*first)
    assert not healthy(second[0], first[1])
    response = httpx.post(f"http://{first[1]}/{first[0]}/detect", content=part(3, "dent")[0], trust_env=False)
    assert response.json()["DetectAnomalyResult"]["IsAnomalous"] is True

    # A replica is killed: the other one goes on, and it is replaced under a new id.
    replicas = {_replica_of(child): child for child in psutil.Process(host.pid).children()}
    replicas[first[0]].kill()
    wait_until(lambda: len(addresses(plant)) == 2 and first not in addresses(plant), 60, "another replica")
    assert second in addresses(plant)
    assert plant.model().status == ModelStatus.HOSTED

    # The host is told to stop: the replicas end, the model stays wanted, and comes back with the next host.
    children = psutil.Process(host.pid).children()
    host.send_signal(signal.SIGTERM)
    assert host.wait(20) == 0
    assert not any(child.is_running() for child in children)
    assert addresses(plant) == []
    assert plant.model().status == ModelStatus.HOSTED
    host = start()
    wait_until(lambda: len(addresses(plant)) == 2, 90, "the replicas to come back")

    # The host is killed: no replica outlives it, and the next host goes on.
    children = psutil.Process(host.pid).children()
    host.kill()
    wait_until(lambda: not any(_alive(child) for child in children), 10, "the replicas to end with their host")
    start()
    wait_until(lambda: len(addresses(plant)) == 2 and all(map(_answers, addresses(plant))), 90, "the replicas again")

    plant.stores.hosting.stop(plant.model())
    wait_for(plant, ModelStatus.TRAINED)
    assert plant.stores.hosting.units() == []


def _replica_of(process: psutil.Process) -> str:
    prefix = "--replica="
    return next(word.removeprefix(prefix) for word in process.cmdline() if word.startswith(prefix))


def _alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def _answers(replica: tuple[str, str]) -> bool:
    try:
        return healthy(*replica)
    except httpx.TransportError:
        return False


def test_stop_while_starting(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    host = start()
    plant.stores.hosting.start(trained_model(plant, trained[False]), 1, None)
    wait_until(lambda: psutil.Process(host.pid).children(), 60, "a replica to be started")
    plant.stores.hosting.stop(plant.model())
    wait_for(plant, ModelStatus.TRAINED)
    assert psutil.Process(host.pid).children() == []


def test_model_stopped_while_no_host_lives(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    plant.stores.hosting.start(trained_model(plant, trained[False]), 1, None)
    plant.stores.hosting.stop(plant.model())
    start()
    wait_for(plant, ModelStatus.TRAINED)


def test_unusable_artefacts_fail_with_the_reason(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    data = trained[False]
    damaged = trained_model(plant, data)
    assert damaged.artefact is not None
    plant.stores.objects.put(OWN_BUCKET, damaged.artefact.key, data[:-1] + b"\x01")
    digest = data[data.index(b'digest\\":\\"') + 11 :][:64]
    foreign = trained_model(plant, data.replace(digest, b"0" * 64))
    gone = trained_model(plant, data)
    assert gone.artefact is not None
    plant.stores.objects.delete(OWN_BUCKET, gone.artefact.key)
    for model in (damaged, foreign, gone):
        plant.stores.hosting.start(model, 1, None)
    start()
    for model, reason in ((damaged, "is damaged"), (foreign, "backbone weights 000"), (gone, "does not exist")):
        failed = wait_for(plant, ModelStatus.HOSTING_FAILED, model.version)
        assert failed.message.startswith("The model cannot be hosted. ")
        assert reason in failed.message
    wait_until(lambda: plant.stores.hosting.units() == [], 30, "the units to be released")
