"""The containers as a plant installs them, on a real Docker engine: `make test-compose`.

docker-compose.yml runs as it ships. An engine that the tests had to start reaches no registry, so the images come from
elsewhere: tests/compose/images.py tells what that leaves untried.
"""

import json
import re
import shutil
import socket
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from api.cli.parts import render_part
from storage.manifest import label_line
from tests.compose.engine import Engine
from tests.compose.stack import ROOT, Stack, copy_checkout
from tests.conftest import wait_until
from tests.journey import BUCKET, host, train, wait_for_dataset, wait_for_model

pytestmark = [pytest.mark.compose, pytest.mark.timeout(1500)]

CENTRAL = "127.0.0.2"  # an address of this machine at which no other server is likely to listen


@pytest.fixture(scope="module")
def lookout(stack: Stack) -> Any:
    return stack.client("lookoutvision")


@pytest.fixture(scope="module")
def s3(stack: Stack) -> Any:
    return stack.client("s3")


@pytest.fixture(scope="module")
def project(lookout: Any, s3: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A project with a data set, whose images a camera has uploaded."""
    random, folder = np.random.default_rng(21), tmp_path_factory.mktemp("images")
    s3.create_bucket(Bucket=BUCKET)
    lines = []
    for number in range(32):
        defect = "stain" if number >= 21 else None
        file = folder / f"{number:03}.png"
        render_part(random, defect).image.save(file)
        s3.upload_file(str(file), BUCKET, f"plates/{file.name}")
        label = "anomaly" if defect else "normal"
        lines.append(label_line(f"s3://{BUCKET}/plates/{file.name}", label, "2026-01-01T00:00:00"))
    s3.put_object(Bucket=BUCKET, Key="train.manifest", Body="\n".join(lines).encode())
    lookout.create_project(ProjectName="plates")
    source = {"GroundTruthManifest": {"S3Object": {"Bucket": BUCKET, "Key": "train.manifest"}}}
    lookout.create_dataset(ProjectName="plates", DatasetType="train", DatasetSource=source)
    described = wait_for_dataset(lookout, "plates")
    assert (described["Status"], described["ImageStats"]["Total"]) == ("CREATE_COMPLETE", 32)
    return "plates"


@pytest.fixture(scope="module")
def hosted(stack: Stack, lookout: Any, project: str) -> str:
    """The project, its first version trained, sealed with a key of the plant, and hosted with two units."""
    stack.run_in(stack.containers("api")[0], "vigil", "kms", "create", "line-3")
    model = train(lookout, project, KmsKeyId="alias/line-3")
    assert model["Status"] == "TRAINED", model["StatusMessage"]
    assert host(lookout, project, units=2)["Status"] == "HOSTED"
    return project


def detect(lookout: Any, s3: Any, number: int) -> bool:
    image = s3.get_object(Bucket=BUCKET, Key=f"plates/{number:03}.png")["Body"].read()
    answer = lookout.detect_anomalies(ProjectName="plates", ModelVersion="1", Body=image, ContentType="image/png")
    anomalous: bool = answer["DetectAnomalyResult"]["IsAnomalous"]
    return anomalous


def units(stack: Stack) -> list[tuple[str, str]]:
    """(host, address) of each unit that takes requests, as the catalogue has it."""
    program = """
import json
from storage.settings import Settings
from storage.stores import open_stores
print(json.dumps([(unit.host, unit.address) for unit in open_stores(Settings()).hosting.units() if unit.address]))
"""
    return [(name, address) for name, address in json.loads(stack.python("api", program))]


def test_without_secrets_nothing_starts(engine: Engine, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path)
    with pytest.raises(AssertionError, match=r"variable \w+ is missing a value: .*sh deploy/env.sh"):
        engine.docker("compose", "up", "--detach", folder=checkout)


def test_secrets_are_made_once_and_for_their_owner_only(stack: Stack) -> None:
    file = stack.folder / ".env"
    before = file.read_text()
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(["sh", "deploy/env.sh"], cwd=stack.folder, check=True, capture_output=True)
    assert file.read_text() == before
    assert file.stat().st_mode & 0o777 == 0o600


def test_from_upload_to_decision_on_two_inference_hosts(stack: Stack, hosted: str, lookout: Any, s3: Any) -> None:
    hosts = sorted(container["Config"]["Hostname"] for container in stack.containers("inference"))
    assert sorted(name for name, _ in units(stack)) == hosts
    assert [detect(lookout, s3, number) for number in (0, 31)] == [False, True]
    model = lookout.describe_model(ProjectName=hosted, ModelVersion="1")["ModelDescription"]
    result = s3.get_object(Bucket=BUCKET, Key=model["EvaluationResult"]["Key"])["Body"].read()
    assert "NumberOfTrainingImages" in json.loads(result)["EvaluationDetails"]


def test_more_keys_are_made_in_the_api_container(stack: Stack) -> None:
    (api,) = stack.containers("api")
    assert "export AWS_ACCESS_KEY_ID=AKIA" in stack.run_in(api, "vigil", "keys", "create", "--role", "inspector")
    assert "inspector" in stack.run_in(api, "vigil", "keys", "list")


def test_two_trainers_train_at_once_and_one_that_is_killed_loses_nothing(
    stack: Stack, hosted: str, lookout: Any
) -> None:
    before = begun(stack)
    output = {"S3Location": {"Bucket": BUCKET}}
    versions = [
        lookout.create_model(ProjectName=hosted, OutputConfig=output)["ModelMetadata"]["ModelVersion"] for _ in "ab"
    ]
    wait_until(lambda: len(begun(stack) - before) == 2, 120, "both trainers to train")
    stack.kill(stack.containers("trainer")[0])
    for version in versions:
        model = wait_for_model(lookout, hosted, version)
        assert model["Status"] == "TRAINED", model["StatusMessage"]
        lookout.delete_model(ProjectName=hosted, ModelVersion=version)
    assert "(train) begins, attempt 2" in stack.compose("logs", "trainer")


def begun(stack: Stack) -> Counter[str]:
    """How many trainings each trainer has begun."""
    return Counter(re.findall(r"^(\S+) +\| .* begins, attempt", stack.compose("logs", "trainer"), re.MULTILINE))


@pytest.mark.usefixtures("hosted")
@pytest.mark.parametrize("service", ["api", "inference", "importer", "postgres", "valkey", "minio"])
def test_what_is_killed_comes_back(stack: Stack, lookout: Any, s3: Any, service: str) -> None:
    (container, *_) = stack.containers(service)
    stack.kill(container)
    wait_until(lambda: all(map(stack.healthy, stack.containers())), 180, "all containers to be healthy again")
    wait_until(lambda: len(units(stack)) == 2, 120, "both units")
    assert detect(lookout, s3, 31)


def test_only_two_ports_are_published(stack: Stack) -> None:
    published = [
        (container["Config"]["Labels"]["com.docker.compose.service"], port["HostIp"], int(port["HostPort"]))
        for container in stack.containers()
        for bindings in container["NetworkSettings"]["Ports"].values()
        for port in bindings or ()
    ]
    assert sorted(published) == [("api", "127.0.0.1", stack.ports[0]), ("minio", "127.0.0.1", stack.ports[1])]


def test_no_container_reaches_what_the_machine_reaches(stack: Stack) -> None:
    address = _mirror()
    # Of a usual engine the two with published ports have a route; the others never have one.
    open_ = set() if stack.engine.own else {"api", "minio"}
    tried = [c for c in stack.containers() if c["Config"]["Labels"]["com.docker.compose.service"] not in open_]
    reach = f"timeout 5 bash -c 'exec 3<>/dev/tcp/{address}/80' && echo reached || echo nothing"
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda container: stack.run_in(container, "sh", "-c", reach), tried))
    assert answers == ["nothing\n"] * (9 - len(open_))


def test_a_training_knows_the_memory_limit_of_its_container(stack: Stack) -> None:
    program = "from trainer.memory import available_memory; print(available_memory())"
    limit = stack.containers("trainer")[0]["HostConfig"]["Memory"]
    assert 0 < int(stack.python("trainer", program)) < limit


def test_another_machine_trains_and_inspects(stack: Stack, hosted: str, lookout: Any, s3: Any, tmp_path: Path) -> None:
    """The other machine is played by this one: its containers use the host's network, not that of the stack."""
    (api,) = stack.containers("api")
    here = api["NetworkSettings"]["Networks"][f"{stack.name}_edge"]["Gateway"]
    central = replace(stack, files=(*stack.files, "deploy/central.yml"))
    (tmp_path / "deploy").mkdir()
    for name in ("docker-compose.yml", "deploy/worker.yml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    values = {**stack.secrets, "VIGIL_CENTRAL": CENTRAL, "VIGIL_ADDRESS": here}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in values.items()))
    worker = Stack(stack.engine, tmp_path, stack.ports, f"{stack.name}-worker", (*stack.files, "deploy/worker.yml"))
    with (stack.folder / ".env").open("a") as file:
        file.write(f"VIGIL_ADDRESS={CENTRAL}\n")
    central.up("--scale=trainer=0", "--scale=inference=0")
    try:
        keys = stack.pipe(b"", "exec", "-T", "api", "tar", "-C", "/data/kms-keys", "-c", ".")
        worker.pipe(keys, "run", "--rm", "--no-deps", "-T", "trainer", "tar", "-C", "/data/kms-keys", "-x")
        worker.up("trainer", "inference")
        wait_until(lambda: [a.rpartition(":")[0] for _, a in units(stack)] == [here] * 2, 120, "units over there")
        lookout, s3 = stack.client("lookoutvision", CENTRAL), stack.client("s3", CENTRAL)
        assert detect(lookout, s3, 31)
        assert train(lookout, hosted)["Status"] == "TRAINED"
        _take_down(lookout, hosted)
    finally:
        worker.compose("down", "--volumes")


def _mirror() -> str:
    """The address of the server that this machine's packages come from, which this machine has just reached."""
    if shutil.which("apt-get") is None:
        pytest.skip("this machine has no apt-get that names a server to reach")
    command = ["apt-get", "indextargets", "--format=$(URI)"]
    target, *_ = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    with socket.create_connection((urlsplit(target).hostname, urlsplit(target).port or 80), 20) as reached:
        address: str = reached.getpeername()[0]
    return address


def _take_down(lookout: Any, project: str) -> None:
    """Stop and delete all there is; each step waits for the one before."""
    lookout.stop_model(ProjectName=project, ModelVersion="1")
    assert wait_for_model(lookout, project)["Status"] == "TRAINED"
    for model in lookout.list_models(ProjectName=project)["Models"]:
        lookout.delete_model(ProjectName=project, ModelVersion=model["ModelVersion"])
    wait_until(lambda: not lookout.list_models(ProjectName=project)["Models"], 60, "the models to be deleted")
    lookout.delete_dataset(ProjectName=project, DatasetType="train")
    lookout.delete_project(ProjectName=project)
    assert lookout.list_projects()["Projects"] == []
