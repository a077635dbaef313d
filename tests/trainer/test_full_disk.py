"""A worker whose disk is full: it waits without using up the tries of its job, and mends what a full disk has torn."""

import logging
import os
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import schema
from storage.jobs import IMPORT
from storage.records import DatasetStatus, Job
from storage.stores import Stores
from tests.conftest import wait_until
from tests.small_disk import small_disk
from tests.trainer.plant import BUCKET, Plant, line
from tests.trainer.test_worker import running
from trainer import importing
from trainer.lease import Lease
from trainer.worker import Handler, Worker

IMAGES = 4000


def submit(plant: Plant) -> str:
    """An import of a data set that needs a megabyte of the catalogue. → its job"""
    dataset = plant.stores.catalogue.create_dataset(plant.project, "train", DatasetStatus.CREATE_IN_PROGRESS, "…")
    lines = (line(f"s3://{BUCKET}/{number}", "normal") for number in range(IMAGES))
    plant.stores.objects.put(BUCKET, "manifest", "\n".join(lines).encode())
    source = {"bucket": BUCKET, "key": "manifest", "version": None}
    return plant.stores.jobs.submit(IMPORT, {"dataset": dataset.id, "source": source})


def test_an_import_waits_for_room_in_the_catalogue(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with small_disk(tmp_path / "disk", 24) as disk:
        plant = Plant(disk.folder / "data", {"max_attempts": 1})
        id_ = submit(plant)

        def full(job: Job, stores: Stores) -> None:
            disk.fill()
            importing.run(job, stores)

        def work(handler: Handler) -> None:
            Worker(plant.stores, {IMPORT: handler}, Lease(plant.settings.heartbeat_seconds)).work(id_)

        thread = threading.Thread(target=work, args=(Handler(full, importing.fail),))
        thread.start()
        wait_until(lambda: "waits: the disk of the catalogue is full" in caplog.text, 60, "the worker to say so")
        disk.free()
        thread.join()
        with plant.stores.database.reading() as connection:
            row = connection.execute(sa.select(schema.job).where(schema.job.c.id == id_)).one()
        assert (row.status, row.attempts) == ("OPEN", 0)
        dataset = plant.stores.catalogue.dataset(plant.project, "train")
        assert (dataset.status, dataset.counts.total) == ("CREATE_IN_PROGRESS", 0)
        work(Handler(importing.run, importing.fail))
        dataset = plant.stores.catalogue.dataset(plant.project, "train")
        assert (dataset.status, dataset.counts.total) == ("CREATE_COMPLETE", IMAGES)
        plant.stores.database.close()


def test_a_broker_torn_by_a_full_disk_is_mended(tmp_path: Path) -> None:
    plant = Plant(tmp_path / "data")
    folder = plant.settings.data_dir / "broker"
    for name in ("control/short.exchange", "messages/1_torn.short.msg"):
        (folder / name).touch()
        os.utime(folder / name, (0, 0))
    submit(plant)

    def status() -> DatasetStatus:
        return plant.stores.catalogue.dataset(plant.project, "train").status

    with running(plant, "short"):
        wait_until(lambda: status() == DatasetStatus.CREATE_COMPLETE, 60, "the import")
    assert not (folder / "messages" / "1_torn.short.msg").exists()
    plant.stores.database.close()
