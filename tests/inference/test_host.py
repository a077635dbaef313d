"""A real host with real replicas: what is wanted comes to run, whatever is killed."""

import os
import signal
import socket
from pathlib import Path

import httpx
import psutil
import pytest

from storage.objects import OWN_BUCKET
from storage.records import ModelStatus
from tests.conftest import wait_until
from tests.inference.arrange import trained_model, wait_for
from tests.inference.conftest import Start
from tests.processes import alive, any_alive, below
from tests.trainer.plant import Plant, part


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
    (replica,) = below(host.pid, f"--replica={first[0]}")
    replica.kill()
    wait_until(lambda: len(addresses(plant)) == 2 and first not in addresses(plant), 60, "another replica")
    assert second in addresses(plant)
    assert plant.model().status == ModelStatus.HOSTED

    # The host is killed: no replica outlives it, and the next host goes on.
    children = below(host.pid)
    host.kill()
    wait_until(lambda: not any_alive(children), 30, "the replicas to end with their host")
    start()
    wait_until(lambda: len(addresses(plant)) == 2 and all(map(_answers, addresses(plant))), 90, "the replicas again")

    plant.stores.hosting.stop(plant.model())
    wait_for(plant, ModelStatus.TRAINED)
    assert plant.stores.hosting.units() == []


def _answers(replica: tuple[str, str]) -> bool:
    try:
        return healthy(*replica)
    except httpx.TransportError:
        return False


def test_stop_while_starting(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    host = start()
    plant.stores.hosting.start(trained_model(plant, trained[False]), 1, None)
    wait_until(lambda: below(host.pid, "inference.replica"), 60, "a replica to be started")
    plant.stores.hosting.stop(plant.model())
    wait_for(plant, ModelStatus.TRAINED)
    assert psutil.Process(host.pid).children() == []  # nor one that has ended and is not collected


def test_host_told_to_stop_gives_up_what_stays_wanted(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    host = start()
    plant.stores.hosting.start(trained_model(plant, trained[False]), 1, None)
    children = wait_until(lambda: below(host.pid, "inference.replica"), 60, "a replica to be started")
    host.send_signal(signal.SIGTERM)
    assert host.wait(60) == 0
    assert not any(child.is_running() for child in children)
    assert plant.model().status == ModelStatus.STARTING_HOSTING
    # Stopped while no host lives: the next one settles it.
    plant.stores.hosting.stop(plant.model())
    start()
    wait_for(plant, ModelStatus.TRAINED)
    assert plant.stores.hosting.units() == []


def test_damaged_artefact_fails_with_the_reason(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    model = trained_model(plant, trained[False])
    assert model.artefact is not None
    plant.stores.objects.put(OWN_BUCKET, model.artefact.key, trained[False][:-1] + b"\x01")
    plant.stores.hosting.start(model, 1, None)
    start()
    failed = wait_for(plant, ModelStatus.HOSTING_FAILED)
    assert failed.message.startswith("The model cannot be hosted. ")
    assert "is damaged" in failed.message
    wait_until(lambda: plant.stores.hosting.units() == [], 30, "the unit to be released")


def test_replicas_that_listen_everywhere_are_reached_by_the_name_of_the_machine(
    plant: Plant, start: Start, trained: dict[bool, bytes]
) -> None:
    start(VIGIL_REPLICA_ADDRESS="0.0.0.0")  # noqa: S104 - what a container sets
    plant.stores.hosting.start(trained_model(plant, trained[False]), 1, None)
    wait_for(plant, ModelStatus.HOSTED)
    ((replica, address),) = addresses(plant)
    name, _, port = address.rpartition(":")
    assert name == socket.gethostname()
    assert healthy(replica, f"127.0.0.1:{port}")


def test_a_replica_that_hangs_is_replaced(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    plant.stores.hosting.start(trained_model(plant, trained[False]), 1, None)
    host = start(VIGIL_LEASE_SECONDS="3", VIGIL_HEARTBEAT_SECONDS="1")
    wait_for(plant, ModelStatus.HOSTED)
    (hanging,) = addresses(plant)
    (process,) = below(host.pid, "inference.replica")
    process.suspend()
    wait_until(lambda: hanging not in addresses(plant) and all(map(_answers, addresses(plant))), 60, "its end")
    wait_until(lambda: addresses(plant), 60, "another replica")
    assert not alive(process)
    assert plant.model().status == ModelStatus.HOSTED


def test_a_host_shows_its_pulse(plant: Plant, start: Start) -> None:
    start()
    pulse = plant.settings.data_dir / "pulse" / "inference"
    wait_until(pulse.exists, 60, "the host's pulse")
    first = pulse.stat().st_mtime
    wait_until(lambda: pulse.stat().st_mtime > first, 60, "the next beat")


def test_replicas_go_to_the_gpus_with_the_most_free_memory(
    plant: Plant, start: Start, trained: dict[bool, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver's tool is one that tells of two GPUs: with a replica on the first, the second has more left."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho GPU-first, 5000\necho GPU-second, 4000\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    plant.stores.hosting.start(trained_model(plant, trained[False]), 2, None)
    host = start(PATH=f"{tool.parent}{os.pathsep}{os.environ['PATH']}")
    replicas = wait_until(
        lambda: len(found := below(host.pid, "inference.replica")) == 2 and found, 60, "a replica for each unit"
    )
    assert {process.environ().get("CUDA_VISIBLE_DEVICES") for process in replicas} == {"GPU-first", "GPU-second"}
