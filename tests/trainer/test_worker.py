"""Real workers, killed and stopped: a job is neither lost nor done twice."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from storage import schema
from storage.jobs import IMPORT
from storage.records import DatasetStatus, ModelStatus
from tests.conftest import wait_until
from tests.processes import any_alive, kill
from tests.redis import BROKERS, running_broker
from tests.trainer.plant import BUCKET, Plant, environment, line
from trainer.lease import Lease
from trainer.worker import Handler, Worker


@pytest.fixture(scope="module", params=BROKERS)
def broker(request: pytest.FixtureRequest) -> str:
    """Every test runs on each of them."""
    return str(request.param)


@contextmanager
def opened(broker: str, folder: Path) -> Iterator[Plant]:
    """A plant with a broker of its own: workers take every bell that they hear."""
    with running_broker(broker, folder) as url:
        plant = Plant(folder / "data", {"broker_url": url})
        yield plant
        plant.stores.database.close()


@pytest.fixture(scope="module")
def plant(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plant]:
    with opened(broker, tmp_path_factory.mktemp("plant")) as plant:
        yield plant


@contextmanager
def running(plant: Plant, queue: str) -> Iterator[psutil.Popen]:
    process = psutil.Popen(
        [sys.executable, "-m", "trainer.worker", "--queue", queue], env=os.environ | environment(plant.settings)
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


@pytest.fixture(scope="module")
def worker(plant: Plant) -> Iterator[psutil.Popen]:
    """A worker for trainings, shared by the tests that leave it alive."""
    with running(plant, "training") as process:
        yield process


def job_row(plant: Plant, id_: str) -> sa.Row[tuple[object, ...]]:
    with plant.stores.database.reading() as connection:
        return connection.execute(sa.select(schema.job).where(schema.job.c.id == id_)).one()


def long_training(plant: Plant) -> tuple[int, str]:
    """(version, job) of one that takes some seconds after its first sign of progress: it can be interrupted."""
    model, id_ = plant.create_model(plant.render(80, 6), detector="patchcore", image_size="256")
    return model.version, id_


def wait_for_progress(plant: Plant, version: int) -> None:
    wait_until(lambda: "%" in plant.model(version).message, 60, "the training to report progress")


def wait_for_end(plant: Plant, version: int) -> ModelStatus:
    wait_until(lambda: plant.model(version).status != ModelStatus.TRAINING, 90, "the training to end")
    return plant.model(version).status


def test_a_worker_that_listens_shows_its_pulse(plant: Plant, worker: psutil.Popen) -> None:
    pulse = plant.settings.data_dir / "pulse" / "training"
    wait_until(pulse.exists, 60, "the worker's pulse")
    first = pulse.stat().st_mtime
    wait_until(lambda: pulse.stat().st_mtime > first, 60, "the next beat")
    assert worker.is_running()


def test_import(plant: Plant) -> None:
    dataset = plant.stores.catalogue.create_dataset(plant.project, "train", DatasetStatus.CREATE_IN_PROGRESS, "…")
    plant.stores.objects.put(BUCKET, "manifest", line(f"s3://{BUCKET}/a", "normal").encode())
    source = {"bucket": BUCKET, "key": "manifest", "version": None}
    plant.stores.jobs.submit(IMPORT, {"dataset": dataset.id, "source": source})

    def status() -> DatasetStatus:
        return plant.stores.catalogue.dataset(plant.project, "train").status

    with running(plant, "short"):
        wait_until(lambda: status() != DatasetStatus.CREATE_IN_PROGRESS, 60, "the import")
    assert status() == DatasetStatus.CREATE_COMPLETE


def test_one_training_after_another(plant: Plant, worker: psutil.Popen) -> None:
    versions = [plant.create_model(plant.render(8, 4))[0].version for _ in range(2)]
    assert [wait_for_end(plant, version) for version in versions] == ["TRAINED", "TRAINED"]
    assert worker.is_running()


def test_killed_child_is_followed_by_another_claim(plant: Plant, worker: psutil.Popen) -> None:
    version, id_ = long_training(plant)
    wait_for_progress(plant, version)
    kill(worker.children())
    assert wait_for_end(plant, version) == ModelStatus.TRAINED
    row = job_row(plant, id_)
    assert (row.status, row.epoch) == ("DONE", 2)
    artefact = plant.model(version).artefact
    assert artefact is not None
    assert f"{id_}-2" in artefact.key


def test_exhausted_attempts_fail_the_training(plant: Plant, worker: psutil.Popen) -> None:
    with plant.stores.database.transaction() as connection:
        model, id_ = plant.create_model(plant.render(8, 4))
        connection.execute(schema.job.update().values(attempts=plant.settings.max_attempts))
    assert wait_for_end(plant, model.version) == ModelStatus.TRAINING_FAILED
    assert "interrupted 3 times" in plant.model(model.version).message
    assert job_row(plant, id_).status == "FAILED"
    assert worker.is_running()


@pytest.fixture
def other_plant(broker: str, tmp_path: Path) -> Iterator[Plant]:
    with opened(broker, tmp_path) as plant:
        yield plant


def test_stopped_then_killed_the_job_goes_on(other_plant: Plant) -> None:
    plant = other_plant
    version, id_ = long_training(plant)
    with running(plant, "training") as worker:
        wait_for_progress(plant, version)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(60) == 0
    row = job_row(plant, id_)
    assert (row.status, row.epoch, row.attempts) == ("OPEN", 1, 0)
    assert [waiting for waiting, _ in plant.stores.jobs.waiting("training")] == [id_]
    assert plant.model(version).status == ModelStatus.TRAINING
    plant.stores.catalogue.note_progress(plant.model(version), ModelStatus.TRAINING, "interrupted")
    with running(plant, "training") as worker:
        wait_for_progress(plant, version)
        children = worker.children()
        worker.kill()
        wait_until(lambda: not any_alive(children), 30, "the children to end with their parent")
        assert children
    with running(plant, "training"):
        assert wait_for_end(plant, version) == ModelStatus.TRAINED
    assert job_row(plant, id_).epoch == 3


def test_unexpected_error_names_itself_and_the_log(tmp_path: Path) -> None:
    from trainer import training

    plant = Plant(tmp_path)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    model, id_ = plant.create_model(plant.render(8, 4))
    version = model.version
    handlers = {"train": Handler(broken, training.fail)}
    Worker(plant.stores, handlers, Lease(plant.settings.heartbeat_seconds)).work(id_)
    assert plant.model(version).status == ModelStatus.TRAINING_FAILED
    assert "(ZeroDivisionError): division by zero" in plant.model(version).message
    assert id_ in plant.model(version).message
    plant.stores.database.close()
