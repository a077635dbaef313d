import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.lifeline import spawn
from tests.trainer.plant import Plant, environment
from trainer import training

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, bytes]:
    """The artefacts of a segmentation model (True) and of a classification model (False)."""
    return {masks: _train(tmp_path_factory.mktemp("trained"), masks) for masks in (True, False)}


def _train(directory: Path, masks: bool) -> bytes:
    plant = Plant(directory)
    job = plant.stores.jobs.claim(plant.create_model(plant.render(12, 8, masks=masks))[1])
    assert job is not None
    training.run(job, plant.stores)
    artefact = plant.model().artefact
    assert artefact is not None, plant.model().message
    data = plant.stores.objects.get(artefact.bucket, artefact.key)
    plant.stores.database.close()
    return data


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    opened = Plant(tmp_path / "data")
    yield opened
    opened.stores.database.close()


@pytest.fixture
def start(plant: Plant) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(**more: str) -> "subprocess.Popen[bytes]":
        started.append(spawn("inference.host", environment=environment(plant.settings) | more))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()
