"""AWS's Python SDK `lookoutvision` 0.1.10, as PyPI has it, on the whole service with its objects in MinIO.

Its files are untouched and nothing stands in for anything. Only its waits are shortened, by the script that uses it
(journey_lookoutvision.py): it sleeps for 5 or 60 seconds between two looks, minutes in all in which nothing happens.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest

from api.cli.parts import render_part
from tests import minio as minio_server
from tests.conformance.programs import journey, needs
from tests.minio import Minio, running_minio
from tests.service import Service, running_service

BUCKET = "camera-7"

pytestmark = [
    needs("lookoutvision"),
    pytest.mark.skipif(minio_server.PROGRAM is None, reason="lookoutvision is not tested: MinIO not installed"),
]


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, minio: Minio) -> Iterator[Service]:
    environment = {
        "VIGIL_OBJECTS_URL": minio.url,
        "VIGIL_OBJECTS_ACCESS_KEY": minio.user,
        "VIGIL_OBJECTS_SECRET_KEY": minio.secret,
    }
    with running_service(tmp_path_factory.mktemp("service"), **environment) as started:
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Images as the SDK wants them: good/ and bad/, and two that no training sees."""
    random = np.random.default_rng(5)
    sets = {"good/{}": [None] * 20, "bad/{}": ["stain", "missinghole"] * 10, "new/good": [None], "new/bad": ["stain"]}
    for name, defects in sets.items():
        for number, defect in enumerate(defects):
            file = tmp_path / f"{name.format(number)}.jpg"
            file.parent.mkdir(exist_ok=True)
            render_part(random, defect).image.save(file, quality=95)
    return tmp_path


@pytest.fixture
def s3(minio: Minio) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=minio.url,
        region_name="us-east-1",
        aws_access_key_id=minio.user,
        aws_secret_access_key=minio.secret,
    )


@pytest.mark.timeout(600)
def test_the_whole_flow_of_its_notebooks(service: Service, minio: Minio, s3: Any, folder: Path) -> None:
    assert service.exports()["AWS_ACCESS_KEY_ID"] == minio.user, "programs sign for both with one key"
    s3.create_bucket(Bucket=BUCKET)
    for name in ("good", "bad"):
        s3.upload_file(str(folder / "new" / f"{name}.jpg"), BUCKET, f"new/{name}.jpg")
    printed = journey(
        "lookoutvision",
        "journey_lookoutvision.py",
        BUCKET,
        service=service,
        folder=folder,
        AWS_ENDPOINT_URL_S3=minio.url,
        MPLBACKEND="agg",
    )
    seen = json.loads(printed.splitlines()[-1])

    assert [seen["sizes"][name]["compliant_images"] for name in ("good", "bad")] == [20, 20]
    assert seen["project"] == seen["again"] == "arn:aws:lookoutvision:us-east-1:000000000000:project/plates"
    for made in ("datasets", "replaced"):
        assert seen[made]["training"]["Status"] == "CREATE_COMPLETE"
    assert seen["datasets"]["training"]["CreationTimestamp"] < seen["replaced"]["training"]["CreationTimestamp"]
    assert seen["fit"]["status"] == "Success!"
    assert seen["fit"]["train_datasets"]["ImageStats"] == {"Total": 40, "Labeled": 40, "Normal": 20, "Anomaly": 20}
    assert set(seen["metrics"]) == {"F1Score", "Recall", "Precision"}
    assert min(seen["metrics"].values()) > 0.8
    assert seen["all metrics"] == 3

    assert (seen["deploy"]["status"], seen["deploy"]["model"]["Status"]) == ("HOSTED", "HOSTED")
    assert [seen[name]["IsAnomalous"] for name in ("good", "bad")] == [False, True]
    for name in ("good", "bad"):
        assert seen[name] in seen["local batch"]["predicted_result"]
        stored = s3.get_object(Bucket=BUCKET, Key=f"predicted/{name}.jpg.json")
        assert json.load(stored["Body"]) == seen[name]
        assert stored["ServerSideEncryption"] == "AES256"
    assert seen["stop"]["Status"] == "STOPPING_HOSTING"
    assert "Error" not in seen["stop"]

    assert [fold["model_name"] for fold in seen["folds"]] == ["plates_0", "plates_1"]
    for fold in seen["folds"]:
        assert (fold["NumberOfTrainImages"], fold["NumberOfTestImages"]) == (20, 20)
        assert fold["F1Score"] > 0.8
    assert seen["projects"] == ["plates"]
