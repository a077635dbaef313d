"""The whole job with all objects in a real MinIO, where cameras upload with AWS's own S3 client."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.config import Config

from api.cli.parts import render_part
from storage.manifest import label_line
from tests.conftest import wait_until
from tests.journey import BUCKET, host, wait_for_dataset, wait_for_model
from tests.service import QUICK, Service, running_service
from tests.storage.minio import PROGRAM, Minio, running_minio

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="MinIO itself is not tested: no minio program on the PATH")


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
    with running_service(tmp_path_factory.mktemp("service"), **QUICK, **environment) as started:
        yield started


@pytest.fixture
def s3(minio: Minio) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=minio.url,
        region_name="us-east-1",
        aws_access_key_id=minio.user,
        aws_secret_access_key=minio.secret,
        config=Config(s3={"addressing_style": "path"}),
    )


def test_uploaded_images_are_trained_on_while_the_store_goes_and_comes_back(
    service: Service, minio: Minio, s3: Any, tmp_path: Path
) -> None:
    random = np.random.default_rng(21)
    s3.create_bucket(Bucket=BUCKET)
    lines = []
    for number in range(32):
        defect = "stain" if number >= 21 else None
        file = tmp_path / f"{number:03}.png"
        render_part(random, defect).image.save(file)
        s3.upload_file(str(file), BUCKET, f"plates/{file.name}")
        label = "anomaly" if defect else "normal"
        lines.append(label_line(f"s3://{BUCKET}/plates/{file.name}", label, "2026-01-01T00:00:00"))
    s3.put_object(Bucket=BUCKET, Key="train.manifest", Body="\n".join(lines).encode())

    lookout = service.client()
    lookout.create_project(ProjectName="plates")
    source = {"GroundTruthManifest": {"S3Object": {"Bucket": BUCKET, "Key": "train.manifest"}}}
    lookout.create_dataset(ProjectName="plates", DatasetType="train", DatasetSource=source)
    assert wait_for_dataset(lookout, "plates")["ImageStats"]["Total"] == 32

    output = {"S3Location": {"Bucket": BUCKET, "Prefix": "evaluation/"}}
    lookout.create_model(ProjectName="plates", OutputConfig=output)
    minio.kill()
    message = "The training waits and goes on by itself"
    wait_until(lambda: message in _message(lookout), 60, "the training to say that it waits")
    minio.start()
    model = wait_for_model(lookout, "plates")
    assert model["Status"] == "TRAINED", model["StatusMessage"]
    result = s3.get_object(Bucket=BUCKET, Key=model["EvaluationResult"]["Key"])["Body"].read()
    assert b'"NumberOfTrainingImages":' in result.replace(b" ", b"")

    assert host(lookout, "plates")["Status"] == "HOSTED"
    image = s3.get_object(Bucket=BUCKET, Key="plates/031.png")["Body"].read()
    answer = lookout.detect_anomalies(ProjectName="plates", ModelVersion="1", Body=image, ContentType="image/png")[
        "DetectAnomalyResult"
    ]
    assert set(answer) == {"Source", "IsAnomalous", "Confidence"}
    assert answer["IsAnomalous"]


def _message(lookout: Any) -> str:
    described = lookout.describe_model(ProjectName="plates", ModelVersion="1")["ModelDescription"]
    message: str = described["StatusMessage"]
    return message
