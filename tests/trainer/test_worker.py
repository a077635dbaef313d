"""Real workers, killed and stopped: a job is neither lost nor done twice."""

import signal
import subprocess
from collections.abc import Callable, Iterator

import psutil
import pytest
import sqlalchemy as sa

from storage import schema
from storage.jobs import IMPORT
from storage.lifeline import spawn
from storage.records import DatasetStatus, ModelStatus
from tests.conftest import wait_until
from tests.trainer.plant import BUCKET, Plant, environment, line
from trainer.lease import Lease
from trainer.worker import Handler, Worker

Start = Callable[[str], "subprocess.Popen[bytes]"]


@pytest.fixture
def start(plant: Plant) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def begin(queue: str) -> "subprocess.Popen[bytes]":
        started.append(spawn("trainer.worker", ["--queue", queue], environment(plant.settings)))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.wait()


def job_row(plant: Plant, id_: str) -> sa.Row[tuple[object, ...]]:
    with plant.stores.database.reading() as connection:
        return connection.execute(sa.select(schema.job).where(schema.job.c.id == id_)).one()


def long_training(plant: Plant) -> str:
    """Takes a second or more after its first sign of progress: long enough to be interrupted."""
    return plant.create_model(plant.render(40, 6), image_size="256")[1]


def wait_for_progress(plant: Plant) -> None:
    wait_until(lambda: "%" in plant.model().message, 60, "the training to report progress")


def test_import_and_training(plant: Plant, start: Start) -> None:
    dataset = plant.stores.catalogue.create_dataset(plant.project, "train", DatasetStatus.CREATE_IN_PROGRESS, "…")
    plant.stores.objects.put(BUCKET, "manifest", line(f"s3://{BUCKET}/a", "normal").encode())
    source = {"bucket": BUCKET, "key": "manifest", "version": None}
    plant.stores.jobs.submit(IMPORT, {"dataset": dataset.id, "source": source})
    start("short")
    found = wait_until(lambda: _status(plant) == DatasetStatus.CREATE_COMPLETE, 60, "the import")
    assert found
    start("training")
    for version in (1, 2):  # the second is done by another child
        plant.create_model(plant.render(8, 4))
        wait_until(lambda v=version: plant.model(v).status != ModelStatus.TRAINING, 60, "the training")
        assert plant.model(version).status == ModelStatus.TRAINED


def _status(plant: Plant) -> DatasetStatus:
    return plant.stores.catalogue.dataset(plant.project, "train").status


def test_killed_child_is_followed_by_another_claim(plant: Plant, start: Start) -> None:
    id_ = long_training(plant)
    worker = start("training")
    wait_for_progress(plant)
    for child in psutil.Process(worker.pid).children():
        child.kill()
    wait_until(lambda: plant.model().status != ModelStatus.TRAINING, 90, "the training to go on")
    row = job_row(plant, id_)
    assert (plant.model().status, row.status, row.epoch) == ("TRAINED", "DONE", 2)
    artefact = plant.model().artefact
    assert artefact is not None
    assert f"{id_}-2" in artefact.key


def test_killed_tree_leaves_no_process_and_the_next_worker_goes_on(plant: Plant, start: Start) -> None:
    id_ = long_training(plant)
    worker = start("training")
    wait_for_progress(plant)
    children = psutil.Process(worker.pid).children()
    worker.kill()
    assert children
    wait_until(lambda: not any(_alive(child) for child in children), 10, "the children to end with their parent")
    start("training")
    wait_until(lambda: plant.model().status != ModelStatus.TRAINING, 90, "the training to go on")
    assert plant.model().status == ModelStatus.TRAINED
    assert job_row(plant, id_).epoch == 2


def _alive(process: psutil.Process) -> bool:
    return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)


def test_sigterm_gives_the_job_back(plant: Plant, start: Start) -> None:
    id_ = long_training(plant)
    worker = start("training")
    wait_for_progress(plant)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(10) == 0
    row = job_row(plant, id_)
    assert (row.status, row.attempts) == ("OPEN", 0)
    assert [waiting for waiting, _ in plant.stores.jobs.waiting("training")] == [id_]
    assert plant.model().status == ModelStatus.TRAINING


def test_exhausted_attempts_fail_the_training(plant: Plant, start: Start) -> None:
    _, id_ = plant.create_model(plant.render(8, 4))
    with plant.stores.database.transaction() as connection:
        connection.execute(schema.job.update().values(attempts=plant.settings.max_attempts))
    start("training")
    wait_until(lambda: plant.model().status != ModelStatus.TRAINING, 60, "the training to be given up")
    assert plant.model().status == ModelStatus.TRAINING_FAILED
    assert "interrupted 3 times" in plant.model().message
    assert job_row(plant, id_).status == "FAILED"


def test_unexpected_error_names_itself_and_the_log(plant: Plant) -> None:
    from trainer import training

    def broken(*_: object) -> None:
        raise ZeroDivisionError("division by zero")

    _, id_ = plant.create_model(plant.render(8, 4))
    handlers = {"train": Handler(broken, training.fail)}
    Worker(plant.stores, handlers, Lease(plant.settings.heartbeat_seconds)).work(id_)
    assert plant.model().status == ModelStatus.TRAINING_FAILED
    assert "(ZeroDivisionError): division by zero" in plant.model().message
    assert id_ in plant.model().message
