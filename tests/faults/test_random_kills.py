"""Kill -9 of any part of the stack at any moment of running work, seeded: `make test-faults ROUNDS=30 SEED=7`.

What was acknowledged is there, nothing is stuck for more than a minute after the last restart, no training is done
twice at once, and every artefact is whole. Two trainers and an inference host work on one stack.
"""

import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load

from storage.objects import OWN_BUCKET, get_verified
from storage.records import ModelStatus
from storage.stores import open_stores
from tests.conftest import wait_until
from tests.faults.actors import Actor, Camera, Engineer, Labeller
from tests.faults.watch import TrainingWatch
from tests.journey import BUCKET, host, train, wait_for_dataset
from tests.processes import kill
from tests.service import Service
from tests.stack import MISSING, REASON, Stack, running_stack

pytestmark = pytest.mark.skipif(bool(MISSING), reason=REASON)

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "5"))
SEED = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(10**6))
SETTLED_SECONDS = 60


class Chaos:
    """Kills one part by its name, and brings back what does not come back by itself."""

    def __init__(self, stack: Stack, dice: random.Random, log: Path) -> None:
        self._stack, self._dice, self._log = stack, dice, log
        self.second = stack.second_trainer(log)
        self.parts: dict[str, Callable[[], None]] = {
            "API": lambda: self._one("api.main"),
            "trainer": lambda: self._one("trainer.worker", "training"),
            "second trainer": self._second_trainer,
            "import worker": lambda: self._one("trainer.worker", "short"),
            "inference host": lambda: self._one("inference.host"),
            "replica": lambda: self._one("inference.replica"),
            "whole service": self._service,
            "Redis": lambda: self._server(stack.redis),
            "MinIO": lambda: self._server(stack.minio),
            "PostgreSQL": lambda: self._server(stack.postgres),
        }

    def wait(self, longest: float) -> None:
        """Let a random time pass: a kill is meant to come at any moment."""
        threading.Event().wait(self._dice.uniform(0, longest))

    def stop(self) -> None:
        self.second.terminate()
        self.second.wait()

    def _one(self, *words: str) -> None:
        found = sorted(self._stack.service.find(*words), key=lambda process: process.pid)
        if found:
            kill([self._dice.choice(found)])

    def _second_trainer(self) -> None:
        self.second.kill()
        self.second.wait()
        self.second = self._stack.second_trainer(self._log)

    def _service(self) -> None:
        self._stack.service.kill_tree()
        self._stack.service.start()

    def _server(self, server: Any) -> None:
        server.kill()
        self.wait(1.5)
        server.start()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("stack"), VIGIL_LEASE_SECONDS="6") as started:
        yield started


@pytest.fixture
def service(stack: Stack) -> Service:
    return stack.service


@pytest.mark.timeout(180 + 120 * ROUNDS)
def test_kills_at_random_moments(stack: Stack, service: Service, tmp_path: Path, figure: Callable[[str], None]) -> None:
    dice = random.Random(SEED)  # noqa: S311 - moments, not secrets
    camera = _prepare(stack, tmp_path)
    labeller = Labeller(service.client(retries={"total_max_attempts": 1}))
    engineer = Engineer(service.client(retries={"total_max_attempts": 1}))
    actors: list[Actor] = [labeller, engineer, camera]
    log = tmp_path / "second-trainer.log"
    watch = TrainingWatch([service.log_file, log])
    chaos = Chaos(stack, dice, log)
    patient = service.client(retries={"total_max_attempts": 10, "mode": "standard"})
    names: list[str] = []
    watch.start()
    try:
        for round_ in range(ROUNDS):
            if not names:
                names = dice.sample(list(chaos.parts), len(chaos.parts))
            name = names.pop()
            for actor in actors:
                actor.start()
            chaos.wait(6)
            chaos.parts[name]()
            chaos.wait(3)
            for actor in actors:
                actor.stop()
            what = f"all to come to rest after the kill of the {name} (round {round_}, seed {SEED})"
            wait_until(lambda: _settled(patient, engineer), SETTLED_SECONDS, what)
            labeller.verify(patient)
            engineer.verify(patient)
            camera.verify(patient)
            assert watch.overlaps() == []
            _artefacts_are_whole(stack)
    finally:
        watch.stop()
        chaos.stop()
    assert watch.trainings() >= 1
    figure(
        f"{ROUNDS} kills, seed {SEED}: {len(labeller.acknowledged)} entries, {len(engineer.allowed)} versions and "
        f"{camera.answers} decisions acknowledged; {sum(len(actor.errors) for actor in actors)} calls failed meanwhile"
    )


def _prepare(stack: Stack, folder: Path) -> Camera:
    """Two projects with plates, `kept` hosted, and an empty one for labels. → the camera that watches `kept`"""
    lookout = stack.service.client(retries={"total_max_attempts": 5})
    lines = stack.upload_plates(folder, normal=20, anomaly=10, seed=31)
    stack.s3().put_object(Bucket=BUCKET, Key="train.manifest", Body="\n".join(lines).encode())
    source = {"GroundTruthManifest": {"S3Object": {"Bucket": BUCKET, "Key": "train.manifest"}}}
    for project in ("kept", "plates"):
        lookout.create_project(ProjectName=project)
        lookout.create_dataset(ProjectName=project, DatasetType="train", DatasetSource=source)
        wait_for_dataset(lookout, project)
    lookout.create_project(ProjectName="labels")
    lookout.create_dataset(ProjectName="labels", DatasetType="train")
    assert train(lookout, "kept")["Status"] == "TRAINED"
    assert host(lookout, "kept")["Status"] == "HOSTED"
    camera = Camera(stack.service.client(retries={"total_max_attempts": 1}), image=(folder / "029.png").read_bytes())
    camera.expected = camera.ask(lookout)
    return camera


def _settled(lookout: Any, engineer: Engineer) -> bool:
    labels = lookout.describe_dataset(ProjectName="labels", DatasetType="train")["DatasetDescription"]["Status"]
    kept = lookout.describe_model(ProjectName="kept", ModelVersion="1")["ModelDescription"]["Status"]
    return labels != "UPDATE_IN_PROGRESS" and kept == "HOSTED" and engineer.settled(lookout)


def _artefacts_are_whole(stack: Stack) -> None:
    """Each artefact can be read, and those of trained models are the ones that were stored."""
    stores = open_stores(stack.settings())
    try:
        for key in stores.objects.keys(OWN_BUCKET, "models/"):
            if key.endswith(".safetensors"):
                assert load(stores.objects.get(OWN_BUCKET, key))
        for project in ("kept", "plates"):
            for model in stores.catalogue.models(project):
                if model.status in (ModelStatus.TRAINED, ModelStatus.HOSTED):
                    assert model.artefact is not None
                    get_verified(stores.objects, model.artefact)
    finally:
        stores.database.close()
