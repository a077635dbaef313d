"""`vigil up` with MinIO: programs that know the lines of `vigil env` alone upload through S3, as they did to AWS."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import psutil
import pytest
from botocore.exceptions import ClientError

from api.cli.parts import render_part
from storage.manifest import label_line
from tests.journey import BUCKET, host, wait_for_dataset, wait_for_model
from tests.minio import PROGRAM
from tests.service import QUICK, VIGIL, Service, running_service

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="S3 of `vigil up` is not tested: no minio program on the PATH")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # Variables of a MinIO of the user's own, of which none may reach the service's.
    others = {"MINIO_REGION": "eu-central-1", "MINIO_ROOT_USER": "somebody", "MINIO_VOLUMES": "/nonexistent"}
    with running_service(tmp_path_factory.mktemp("service"), VIGIL_OBJECTS="minio", **others, **QUICK) as started:
        yield started


@pytest.fixture
def session(service: Service, monkeypatch: pytest.MonkeyPatch) -> boto3.Session:
    """A program's boto3, which has read the lines of `vigil env` and nothing else."""
    for name, value in service.exports().items():
        monkeypatch.setenv(name, value)
    return boto3.Session()


@pytest.fixture
def s3(session: boto3.Session) -> Any:
    return session.client("s3")


def minio(service: Service) -> psutil.Process:
    (process,) = service.find("server", "--address", f"127.0.0.1:{service.port + 1}")
    return process


def test_what_aws_programs_do_with_buckets(service: Service, s3: Any, tmp_path: Path) -> None:
    assert s3.meta.endpoint_url == f"http://127.0.0.1:{service.port + 1}"
    assert f"Objects: MinIO, which speaks S3 at {s3.meta.endpoint_url}" in service.log()
    s3.create_bucket(Bucket="calls")
    large = tmp_path / "large.bin"
    large.write_bytes(np.random.default_rng(1).bytes(20_000_000))
    s3.upload_file(str(large), "calls", "in/large.bin")  # in three parts
    s3.download_file("calls", "in/large.bin", str(tmp_path / "back.bin"))
    assert (tmp_path / "back.bin").read_bytes() == large.read_bytes()
    put = s3.put_object(Bucket="calls", Key="in/a b ü.txt", Body=b"secret", ServerSideEncryption="AES256")
    assert put["ServerSideEncryption"] == "AES256"
    s3.copy_object(Bucket="calls", Key="out/copy", CopySource={"Bucket": "calls", "Key": "in/a b ü.txt"})
    assert s3.get_object(Bucket="calls", Key="out/copy")["Body"].read() == b"secret"
    listed = s3.list_objects(Bucket="calls", Delimiter="/")
    assert [common["Prefix"] for common in listed["CommonPrefixes"]] == ["in/", "out/"]
    first = s3.list_objects_v2(Bucket="calls", MaxKeys=2)
    rest = s3.list_objects_v2(Bucket="calls", ContinuationToken=first["NextContinuationToken"])
    keys = [item["Key"] for page in (first, rest) for item in page["Contents"]]
    assert keys == ["in/a b ü.txt", "in/large.bin", "out/copy"]
    answer = s3.delete_objects(Bucket="calls", Delete={"Objects": [{"Key": key} for key in keys]})
    assert "Errors" not in answer
    s3.delete_bucket(Bucket="calls")
    with pytest.raises(ClientError, match="404"):
        s3.head_bucket(Bucket="calls")


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "ap-northeast-2"])
def test_every_region_is_the_same_server(session: boto3.Session, region: str) -> None:
    client = session.client("s3", region_name=region)
    place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
    client.create_bucket(Bucket=f"in-{region}", **place)
    client.put_object(Bucket=f"in-{region}", Key="k", Body=region.encode())
    found = session.client("s3", region_name="eu-west-1").get_object(Bucket=f"in-{region}", Key="k")
    assert found["Body"].read() == region.encode()


def test_it_serves_this_machine_alone_and_asks_for_a_key(service: Service, session: boto3.Session) -> None:
    listening = [c.laddr.ip for c in minio(service).net_connections() if c.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}
    stranger = session.client("s3", aws_access_key_id="minioadmin", aws_secret_access_key="minioadmin")  # noqa: S106 - not a secret: the one that MinIO has of itself
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        stranger.list_buckets()


def test_from_upload_to_decision_while_minio_dies(service: Service, s3: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(31)
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
    source = {"GroundTruthManifest": {"S3Object": {"Bucket": BUCKET, "Key": "train.manifest"}}}
    lookout.create_dataset(ProjectName="plates", DatasetType="train", DatasetSource=source)
    assert wait_for_dataset(lookout, "plates")["ImageStats"]["Total"] == 32
    output = {"S3Location": {"Bucket": BUCKET, "Prefix": "evaluation/"}}
    lookout.create_model(ProjectName="plates", OutputConfig=output)
    minio(service).kill()
    model = wait_for_model(lookout, "plates")
    assert model["Status"] == "TRAINED", model["StatusMessage"]
    assert "The MinIO process was killed by signal 9; it is started again in 1 s." in service.log()
    result = s3.get_object(Bucket=BUCKET, Key=model["EvaluationResult"]["Key"])["Body"].read()
    assert json.loads(result)["EvaluationDetails"]["NumberOfTestingImages"] == 6
    assert host(lookout, "plates")["Status"] == "HOSTED"
    image = s3.get_object(Bucket=BUCKET, Key="plates/031.png")["Body"].read()
    answer = lookout.detect_anomalies(ProjectName="plates", ModelVersion="1", Body=image, ContentType="image/png")
    assert answer["DetectAnomalyResult"]["IsAnomalous"]


@pytest.mark.parametrize("named", [True, False])
def test_import_copies_through_s3(service: Service, s3: Any, tmp_path: Path, named: bool) -> None:
    """The service is named by its port, or by the variables of `vigil env` alone."""
    (tmp_path / "normal").mkdir()
    render_part(np.random.default_rng(1), None).image.save(tmp_path / "normal" / "a.png")
    project = f"imported-{named}"
    command = [VIGIL, "import", str(tmp_path), "--project", project, "--label-from-folders"]
    command += ["--data-dir", str(service.data_dir), "--port", str(service.port)] if named else []
    environment = {**os.environ, **service.exports(), "VIGIL_DATA_DIR": str(service.data_dir)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert "has 1 images: 1 normal" in done.stdout
    stored = s3.get_object(Bucket="vigil", Key=f"datasets/{project}/train/normal/a.png")["Body"].read()
    assert stored == (tmp_path / "normal" / "a.png").read_bytes()
    assert not (service.data_dir / "objects").exists()


def test_doctor_finds_it(service: Service) -> None:
    command = [VIGIL, "doctor", "--data-dir", str(service.data_dir), "--port", str(service.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env={**os.environ, "COLUMNS": "250"})
    assert done.returncode == 0, done.stdout
    assert "can be used: MinIO, which speaks S3 at" in done.stdout


def test_killed_with_9_it_goes_with_its_parent_and_loses_nothing(service: Service, s3: Any) -> None:
    s3.create_bucket(Bucket="kept")
    s3.put_object(Bucket="kept", Key="k", Body=b"kept")
    server = minio(service)
    service.kill()
    assert not server.is_running()
    service.start()
    assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == b"kept"


def test_a_revoked_key_opens_no_bucket(service: Service, s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    place = ["--data-dir", str(service.data_dir)]
    old = service.exports()["AWS_ACCESS_KEY_ID"]
    s3.create_bucket(Bucket="before")
    s3.put_object(Bucket="before", Key="k", Body=b"x", ServerSideEncryption="AES256")
    subprocess.run([VIGIL, "keys", "create", "--role", "admin", *place], check=True, capture_output=True)
    refused = subprocess.run([VIGIL, "keys", "revoke", old, *place], capture_output=True, text=True)
    assert refused.returncode == 1
    assert "opens the buckets of the running service: stop `vigil up` first" in refused.stderr
    assert service.stop() == 0
    subprocess.run([VIGIL, "keys", "revoke", old, *place], check=True, capture_output=True)
    service.start()
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        s3.list_buckets()
    for name, value in service.exports().items():
        monkeypatch.setenv(name, value)
    again = boto3.Session().client("s3")
    assert again.get_object(Bucket="before", Key="k")["Body"].read() == b"x"
