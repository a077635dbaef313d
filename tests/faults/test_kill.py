"""Kill -9 at bad moments: nothing that was acknowledged is lost, nothing is stuck, and all goes on by itself."""

import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.conftest import wait_until
from tests.journey import (
    BUCKET,
    create_project,
    detect,
    host,
    manifest,
    render_parts,
    train,
    wait_for_dataset,
    wait_for_model,
)
from tests.processes import kill
from tests.service import QUICK, Service, running_service

ROUNDS = 4


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), **QUICK) as started:
        yield started


@pytest.fixture(scope="module")
def hosted(service: Service) -> Path:
    """A hosted model `kept`. → an image to ask it about"""
    lookout = service.client()
    images = render_parts(service, "kept", normal=20, anomaly=10, seed=11, masks=False)
    create_project(lookout, service, "kept", manifest(images, masks=False))
    assert train(lookout, "kept")["Status"] == "TRAINED"
    assert host(lookout, "kept")["Status"] == "HOSTED"
    return service.bucket(BUCKET) / next(iter(images))


def test_trainer_killed_in_mid_training(service: Service) -> None:
    lookout = service.client()
    images = render_parts(service, "killed", normal=20, anomaly=10, seed=12, masks=False)
    create_project(lookout, service, "killed", manifest(images, masks=False))
    output = {"S3Location": {"Bucket": BUCKET, "Prefix": "killed/"}}
    lookout.create_model(ProjectName="killed", OutputConfig=output)
    wait_until(lambda: "%" in _message(lookout, "killed"), 60, "the training to report progress")
    kill(service.find("trainer.worker", "training"))
    assert wait_for_model(lookout, "killed")["Status"] == "TRAINED"
    assert len(list((service.data_dir / "objects" / "vigil" / "models" / "killed").rglob("*.safetensors"))) >= 1


def test_replica_killed_under_requests(service: Service, hosted: Path) -> None:
    lookout = service.client(retries={"total_max_attempts": 5})
    before = detect(lookout, "kept", hosted)
    answers: list[dict[str, Any]] = []
    failures: list[Exception] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                answers.append(detect(lookout, "kept", hosted))
            except (ClientError, BotoCoreError) as error:
                failures.append(error)

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    wait_until(lambda: len(answers) >= 5, 30, "answers before the kill")
    (replica,) = service.find("inference.replica")
    replica.kill()
    count = len(answers)
    wait_until(lambda: len(answers) >= count + 10, 90, "answers after the kill")
    ended.set()
    for asker in askers:
        asker.join()
    assert failures == []
    assert all(answer == before for answer in answers)
    assert _status(lookout, "kept") == "HOSTED"


@pytest.mark.timeout(900)
def test_whole_tree_killed_at_random_moments(service: Service, hosted: Path, figure: Callable[[str], None]) -> None:
    seed = random.SystemRandom().randrange(10**6)
    dice = random.Random(seed)  # noqa: S311 - moments, not secrets
    figure(f"moments of the kills: seed {seed}")
    images = render_parts(service, "tree", normal=20, anomaly=10, seed=13, masks=False)
    lines = manifest(images, masks=False).splitlines()
    acknowledged: list[str] = []
    versions: list[str] = []
    lookout = service.client()
    lookout.create_project(ProjectName="tree")
    lookout.create_dataset(ProjectName="tree", DatasetType="train")
    for round_ in range(ROUNDS):
        part = lines[round_::ROUNDS]
        lookout.update_dataset_entries(ProjectName="tree", DatasetType="train", Changes=b"\n".join(part))
        acknowledged += [line.decode() for line in part]
        if round_ == ROUNDS - 1:
            assert wait_for_dataset(lookout, "tree")["Status"] == "UPDATE_COMPLETE"
            versions.append(_create(lookout))
        # The one wait that is not for a condition: the moment of the kill is meant to be any.
        threading.Event().wait(dice.uniform(0, 4))
        service.kill_tree()
        service.start()
        lookout = service.client()
        assert wait_for_dataset(lookout, "tree")["Status"] == "UPDATE_COMPLETE"
        pages = lookout.get_paginator("list_dataset_entries").paginate(ProjectName="tree", DatasetType="train")
        assert [line for page in pages for line in page["DatasetEntries"]] == acknowledged
    assert wait_for_model(lookout, "tree", versions[0])["Status"] == "TRAINED"
    wait_until(lambda: _status(lookout, "kept") == "HOSTED", 60, "the hosted model to come back")
    assert detect(lookout, "kept", hosted)["Source"] == {"Type": "direct"}


def test_ctrl_c_and_start_again(service: Service, hosted: Path) -> None:
    lookout = service.client()
    before = detect(lookout, "kept", hosted)
    version = _create(lookout, "tree")
    wait_until(lambda: "%" in _message(lookout, "tree", version), 60, "the training to report progress")
    children = service.children()
    assert service.stop() == 0
    assert [child for child in children if child.is_running()] == []
    service.start()
    lookout = service.client()
    assert wait_for_model(lookout, "tree", version)["Status"] == "TRAINED"
    assert detect(lookout, "kept", hosted) == before


def test_killing_only_the_parent_leaves_nothing_running(service: Service, hosted: Path) -> None:
    service.kill()
    service.start()
    assert detect(service.client(), "kept", hosted)["Source"] == {"Type": "direct"}


def _create(lookout: Any, project: str = "tree") -> str:
    output = {"S3Location": {"Bucket": BUCKET, "Prefix": "tree/"}}
    made: str = lookout.create_model(ProjectName=project, OutputConfig=output)["ModelMetadata"]["ModelVersion"]
    return made


def _message(lookout: Any, project: str, version: str = "1") -> str:
    described = lookout.describe_model(ProjectName=project, ModelVersion=version)["ModelDescription"]
    message: str = described["StatusMessage"]
    return message


def _status(lookout: Any, project: str) -> str:
    status: str = lookout.describe_model(ProjectName=project, ModelVersion="1")["ModelDescription"]["Status"]
    return status
