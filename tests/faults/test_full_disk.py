"""Full disks: calls are refused with the reason or wait and say so, nothing is half done, and all goes on by itself.

The data directory (catalogue, broker, the service's log) is one small disk, the objects are another one.
"""

import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from api.cli.address import Address
from api.cli.service import answers
from storage.database import Database
from storage.records import now
from storage.schema import unit
from storage.settings import Settings
from tests.api.refusals import assert_refused
from tests.conftest import free_port, wait_until
from tests.journey import (
    BUCKET,
    create_project,
    detect,
    host,
    manifest,
    render_parts,
    wait_for_dataset,
    wait_for_model,
)
from tests.processes import below
from tests.service import QUICK, VIGIL, Service, running_service
from tests.small_disk import SmallDisk, small_disk

OUT = {"S3Location": {"Bucket": BUCKET, "Prefix": "evaluation/"}}


@pytest.fixture(scope="module")
def data_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("disks") / "service", 48) as disk:
        yield disk


@pytest.fixture(scope="module")
def objects_disk(data_disk: SmallDisk) -> Iterator[SmallDisk]:
    with small_disk(data_disk.folder / "data" / "objects", 24) as disk:
        yield disk


@pytest.fixture(scope="module")
def service(data_disk: SmallDisk, objects_disk: SmallDisk) -> Iterator[Service]:
    assert objects_disk.folder.is_relative_to(data_disk.folder / "data")
    with running_service(data_disk.folder, **QUICK) as started:
        yield started


@pytest.fixture(scope="module")
def lookout(service: Service) -> Any:
    return service.client(retries={"total_max_attempts": 1})


@pytest.fixture(scope="module")
def lines(service: Service, lookout: Any) -> list[bytes]:
    """A project `plates` that can be trained. → its manifest lines"""
    images = render_parts(service, "plates", normal=20, anomaly=10, seed=41, masks=False)
    content = manifest(images, masks=False)
    assert create_project(lookout, service, "plates", content)["Status"] == "CREATE_COMPLETE"
    return content.splitlines()


def test_objects_without_room(lookout: Any, lines: list[bytes], objects_disk: SmallDisk) -> None:
    objects_disk.fill()
    reason = f"the disk of the object store is full; make room on the disk of {objects_disk.folder}"
    with assert_refused("InternalServerException", reason):
        lookout.create_model(ProjectName="plates", OutputConfig=OUT)
    with assert_refused("InternalServerException", reason):
        lookout.update_dataset_entries(ProjectName="plates", DatasetType="train", Changes=lines[0])
    assert lookout.list_models(ProjectName="plates")["Models"] == []
    assert wait_for_dataset(lookout, "plates")["Status"] == "CREATE_COMPLETE"
    assert list((objects_disk.folder / ".incoming").iterdir()) == []

    # Room for what CreateModel writes, not for what the training makes.
    objects_disk.free()
    objects_disk.fill(leave=64 * 1024)
    lookout.create_model(ProjectName="plates", OutputConfig=OUT)

    def message() -> str:
        found = lookout.describe_model(ProjectName="plates", ModelVersion="1")["ModelDescription"]
        assert found["Status"] == "TRAINING", found["StatusMessage"]
        text: str = found["StatusMessage"]
        return text

    wait_until(lambda: reason in message(), 120, "the training to say that it waits")
    assert "waits and goes on by itself" in message()
    assert list((objects_disk.folder / ".incoming").iterdir()) == []
    objects_disk.free()
    assert wait_for_model(lookout, "plates")["Status"] == "TRAINED"


def test_catalogue_broker_and_log_without_room(
    service: Service, lookout: Any, lines: list[bytes], data_disk: SmallDisk
) -> None:
    assert host(lookout, "plates")["Status"] == "HOSTED"
    image = service.bucket(BUCKET) / "plates" / "000.png"
    before = detect(lookout, "plates", image)
    data_disk.fill()
    # A change that is accepted is carried out once there is room for its message to the worker.
    changed = lines[0].replace(b"000.png", b"more.png")
    lookout.update_dataset_entries(ProjectName="plates", DatasetType="train", Changes=changed)
    (worker, *_) = service.find("trainer.worker", "short")
    worker.kill()
    wait_until(lambda: [w for w in service.find("trainer.worker", "short") if w != worker], 60, "another worker")

    # Detection goes on for longer than any lease lasts, since leases are still kept.
    database = Database(Settings(data_dir=service.data_dir).catalogue)
    two_leases = now() + 2 * timedelta(seconds=float(QUICK["VIGIL_LEASE_SECONDS"]))

    def kept() -> bool:
        with database.reading() as connection:
            return all(row.lease_until > two_leases for row in connection.execute(unit.select()))

    wait_until(kept, 60, "the lease of the replica to be kept")
    database.close()
    assert detect(lookout, "plates", image) == before
    assert service.running()

    data_disk.free()
    assert wait_for_dataset(lookout, "plates")["Status"] == "UPDATE_COMPLETE"
    listed = lookout.list_dataset_entries(ProjectName="plates", DatasetType="train", SourceRefContains="more.png")
    assert listed["DatasetEntries"] == [changed.decode()]
    assert _status(lookout) == "HOSTED"


def test_a_service_goes_on_when_its_log_takes_no_line(tmp_path: Path) -> None:
    port = free_port()
    with Path("/dev/full").open("wb") as full:
        command = [VIGIL, "up", "--data-dir", str(tmp_path / "data"), "--port", str(port)]
        process = psutil.Popen(command, stdout=full, stderr=full)

    def hosts() -> list[psutil.Process]:
        return below(process.pid, "inference.host")

    try:
        wait_until(lambda: answers(Address(f"http://127.0.0.1:{port}")), 120, "the service to be ready")
        (first,) = hosts()
        first.kill()
        wait_until(lambda: hosts() not in ([], [first]), 60, "another inference host")
        assert process.is_running()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _status(lookout: Any) -> str:
    status: str = lookout.describe_model(ProjectName="plates", ModelVersion="1")["ModelDescription"]["Status"]
    return status
