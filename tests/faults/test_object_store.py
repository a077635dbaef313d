"""The S3 server is full, or away: calls and statuses say so, and all goes on once it is not."""

import io
from collections.abc import Iterator

import numpy as np
import pytest

from api.cli.parts import render_part
from storage.errors import Full
from storage.manifest import label_line
from storage.objects import Objects
from storage.stores import open_objects
from tests.api.refusals import assert_refused
from tests.conftest import wait_until
from tests.journey import BUCKET, wait_for_dataset, wait_for_model
from tests.minio import PROGRAM, Minio, running_minio
from tests.service import QUICK, Service, running_service
from tests.small_disk import SmallDisk, small_disk

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="a full MinIO is not tested: no minio program on the PATH")
OUT = {"S3Location": {"Bucket": BUCKET, "Prefix": "evaluation/"}}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    with small_disk(tmp_path_factory.mktemp("disks") / "minio", 64) as mounted:
        yield mounted


@pytest.fixture(scope="module")
def minio(disk: SmallDisk) -> Iterator[Minio]:
    with running_minio(disk.folder / "data") as server:
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, minio: Minio) -> Iterator[Service]:
    environment = {
        "VIGIL_OBJECTS_URL": minio.url,
        "VIGIL_OBJECTS_ACCESS_KEY": minio.user,
        "VIGIL_OBJECTS_SECRET_KEY": minio.secret,
    }
    with running_service(tmp_path_factory.mktemp("service"), **QUICK, **environment) as started:
        yield started


def test_full_then_away(service: Service, minio: Minio, disk: SmallDisk) -> None:
    lookout = service.client(retries={"total_max_attempts": 1})
    objects = open_objects(minio.settings(service.data_dir))
    random, lines, image = np.random.default_rng(51), [], io.BytesIO()
    for number in range(31):
        image = io.BytesIO()
        render_part(random, "stain" if number >= 20 else None).image.save(image, "PNG")
        objects.put(BUCKET, f"{number}.png", image.getvalue())
        lines.append(label_line(f"s3://{BUCKET}/{number}.png", "anomaly" if number >= 20 else "normal", "2026-01-01"))
    changes = "\n".join(lines).encode()
    lookout.create_project(ProjectName="plates")
    lookout.create_dataset(ProjectName="plates", DatasetType="train")

    disk.fill()
    full = f"the disk of the object store at {minio.url} is full; make room there, then try again"
    with assert_refused("InternalServerException", full):
        lookout.update_dataset_entries(ProjectName="plates", DatasetType="train", Changes=changes)
    with pytest.raises(Full):
        objects.put("another-bucket", "k", b"")
    described = lookout.describe_dataset(ProjectName="plates", DatasetType="train")["DatasetDescription"]
    assert (described["Status"], described["ImageStats"]["Total"]) == ("CREATE_COMPLETE", 0)
    disk.free()
    wait_until(lambda: _taken(objects), 60, "MinIO to take objects again")
    lookout.update_dataset_entries(ProjectName="plates", DatasetType="train", Changes=changes)
    assert wait_for_dataset(lookout, "plates")["ImageStats"]["Total"] == 31
    lookout.create_model(ProjectName="plates", OutputConfig=OUT)
    assert wait_for_model(lookout, "plates")["Status"] == "TRAINED"

    minio.kill()
    lookout.start_model(ProjectName="plates", ModelVersion="1", MinInferenceUnits=1)
    away = f"The model is starting. It waits and goes on by itself: the object store at {minio.url} cannot be reached"

    def starting() -> bool:
        found = lookout.describe_model(ProjectName="plates", ModelVersion="1")["ModelDescription"]
        assert found["Status"] == "STARTING_HOSTING", found["StatusMessage"]
        return away in str(found["StatusMessage"])

    wait_until(starting, 60, "the model to say that it waits")
    minio.start()
    hosted = wait_for_model(lookout, "plates")
    assert (hosted["Status"], hosted["StatusMessage"]) == ("HOSTED", "The model is running.")
    answer = lookout.detect_anomalies(
        ProjectName="plates", ModelVersion="1", Body=image.getvalue(), ContentType="image/png"
    )
    assert answer["DetectAnomalyResult"]["IsAnomalous"]


def _taken(objects: Objects) -> bool:
    try:
        objects.put(BUCKET, "probe", b"")
    except Full:
        return False
    return True
