"""The whole job on the servers of the stack: PostgreSQL, Redis and MinIO, each killed with -9 at a bad moment.

Cameras upload with AWS's own S3 client.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.config import Config

from api.cli.parts import render_part
from storage.manifest import label_line
from tests import minio as minio_server
from tests import postgres as postgres_server
from tests import redis as redis_server
from tests.conftest import wait_until
from tests.journey import BUCKET, host, wait_for_dataset, wait_for_model
from tests.minio import Minio, running_minio
from tests.postgres import Postgres, running_postgres
from tests.redis import Redis, running_redis
from tests.service import QUICK, Service, running_service

MISSING = [
    name
    for name, server in (("MinIO", minio_server), ("PostgreSQL", postgres_server), ("Redis", redis_server))
    if server.PROGRAM is None
]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"the stack is not tested: {' and '.join(MISSING)} not installed")


@pytest.fixture(scope="module")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    with running_minio(tmp_path_factory.mktemp("minio")) as server:
        yield server


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with running_redis(tmp_path_factory.mktemp("redis") / "data") as server:
        yield server


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, minio: Minio, redis: Redis, postgres: Postgres
) -> Iterator[Service]:
    environment = {
        "VIGIL_CATALOGUE_URL": postgres.database(),
        "VIGIL_BROKER_URL": redis.url,
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


def test_from_upload_to_decision_while_the_servers_die_and_come_back(
    service: Service, minio: Minio, redis: Redis, postgres: Postgres, s3: Any, tmp_path: Path
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

    lookout = service.client(retries={"total_max_attempts": 10})
    lookout.create_project(ProjectName="plates")
    redis.kill()
    source = {"GroundTruthManifest": {"S3Object": {"Bucket": BUCKET, "Key": "train.manifest"}}}
    lookout.create_dataset(ProjectName="plates", DatasetType="train", DatasetSource=source)
    redis.start()
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
    postgres.kill()
    postgres.start()
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
