"""The whole job on the servers of the stack: PostgreSQL, Redis and MinIO, each killed with -9 at a bad moment.

Cameras upload with AWS's own S3 client.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import wait_until
from tests.journey import BUCKET, host, wait_for_dataset, wait_for_model
from tests.service import Service
from tests.stack import MISSING, REASON, Stack, running_stack

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack")) as started:
        yield started


@pytest.fixture
def service(stack: Stack) -> Service:
    return stack.service


def test_from_upload_to_decision_while_the_servers_die_and_come_back(
    service: Service, stack: Stack, tmp_path: Path
) -> None:
    s3 = stack.s3()
    lines = stack.upload_plates(tmp_path, normal=21, anomaly=11, seed=21)
    s3.put_object(Bucket=BUCKET, Key="train.manifest", Body="\n".join(lines).encode())

    lookout = service.client(retries={"total_max_attempts": 10})
    lookout.create_project(ProjectName="plates")
    stack.redis.kill()
    source = {"GroundTruthManifest": {"S3Object": {"Bucket": BUCKET, "Key": "train.manifest"}}}
    lookout.create_dataset(ProjectName="plates", DatasetType="train", DatasetSource=source)
    stack.redis.start()
    assert wait_for_dataset(lookout, "plates")["ImageStats"]["Total"] == 32

    output = {"S3Location": {"Bucket": BUCKET, "Prefix": "evaluation/"}}
    lookout.create_model(ProjectName="plates", OutputConfig=output)
    stack.minio.kill()
    message = "The training waits and goes on by itself"
    wait_until(lambda: message in _message(lookout), 60, "the training to say that it waits")
    stack.minio.start()
    model = wait_for_model(lookout, "plates")
    assert model["Status"] == "TRAINED", model["StatusMessage"]
    result = s3.get_object(Bucket=BUCKET, Key=model["EvaluationResult"]["Key"])["Body"].read()
    assert b'"NumberOfTrainingImages":' in result.replace(b" ", b"")

    assert host(lookout, "plates")["Status"] == "HOSTED"
    stack.postgres.kill()
    stack.postgres.start()
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
