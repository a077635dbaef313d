"""The API while the disk under catalogue, broker and objects is full: refused with the reason, undone, and healed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.jobs import IMPORT
from storage.objects import OWN_BUCKET
from storage.settings import Settings
from storage.stores import Stores, open_stores
from tests.api import arrange
from tests.api.refusals import assert_refused
from tests.conftest import client, serving
from tests.small_disk import SmallDisk, small_disk

OUT = {"S3Location": {"Bucket": "out"}}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "disk", 8) as mounted:
        yield mounted


@pytest.fixture
def stores(disk: SmallDisk) -> Iterator[Stores]:
    opened = open_stores(Settings(data_dir=disk.folder / "data"))
    yield opened
    opened.database.close()


def test_a_full_disk_refuses_changes_and_still_answers(disk: SmallDisk, stores: Stores) -> None:
    with serving(stores.settings, stores) as endpoint:
        lookout = client(endpoint, stores.keys.create())
        lookout.create_project(ProjectName="plates")
        arrange.trainable(stores, "plates")
        disk.fill()
        with assert_refused("InternalServerException", "the disk of the catalogue is full and nothing was changed"):
            lookout.create_project(ProjectName="more")
        for call in (
            lambda: lookout.create_model(ProjectName="plates", OutputConfig=OUT),
            lambda: lookout.update_dataset_entries(
                ProjectName="plates", DatasetType="train", Changes=arrange.line("new.png").encode()
            ),
        ):
            with assert_refused("InternalServerException", "the disk of the (catalogue|object store) is full"):
                call()
        described = lookout.describe_dataset(ProjectName="plates", DatasetType="train")["DatasetDescription"]
        assert (described["Status"], described["StatusMessage"]) == ("CREATE_COMPLETE", "made")
        assert lookout.list_models(ProjectName="plates")["Models"] == []

        disk.free()
        lookout.create_project(ProjectName="more")
        assert lookout.create_model(ProjectName="plates", OutputConfig=OUT)["ModelMetadata"]["ModelVersion"] == "1"
        assert [project["ProjectName"] for project in lookout.list_projects()["Projects"]] == ["more", "plates"]
        with stores.database.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"


def test_a_change_whose_commit_fails_leaves_no_object(disk: SmallDisk, tmp_path: Path) -> None:
    settings = Settings(data_dir=disk.folder / "data")
    stores = open_stores(settings)
    stores.catalogue.create_project("plates")
    settings.objects_dir.symlink_to(tmp_path, target_is_directory=True)  # the objects are on a disk with room
    with serving(settings, stores) as endpoint:
        lookout = client(endpoint, stores.keys.create())
        lookout.create_dataset(ProjectName="plates", DatasetType="train")
        disk.fill()
        with assert_refused("InternalServerException", "the disk of the catalogue is full"):
            lookout.update_dataset_entries(
                ProjectName="plates", DatasetType="train", Changes=arrange.line("new.png").encode()
            )
        assert list(stores.objects.keys(OWN_BUCKET)) == []
        assert arrange.jobs(stores, IMPORT) == []
    stores.database.close()


def test_a_bell_that_could_not_be_rung_rings_again_once_there_is_room(disk: SmallDisk, stores: Stores) -> None:
    folder = disk.folder / "data" / "broker" / "messages"
    disk.fill()
    stores.jobs.ring("first", IMPORT)
    disk.free()
    stores.jobs.ring("second", IMPORT)
    assert [file.stat().st_size > 0 for file in folder.iterdir() if b"second" in file.read_bytes()] == [True]
