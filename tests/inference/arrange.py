"""Models that tests of hosting begin with."""

from collections.abc import Callable
from dataclasses import asdict

from storage.access import AccessKey
from storage.objects import OWN_BUCKET, artefact_key
from storage.records import Model, ModelStatus
from tests.conftest import client, wait_until
from tests.trainer.plant import Plant, part


def trained_model(plant: Plant, data: bytes) -> Model:
    model, job = plant.create_model([])
    stored = plant.stores.objects.put(OWN_BUCKET, artefact_key(plant.project, model.version, job, 1), data)
    plant.stores.catalogue.move_model(model, ModelStatus.TRAINED, "…", artefact=asdict(stored))
    return plant.model(model.version)


def wait_for(plant: Plant, status: ModelStatus, version: int = 1) -> Model:
    wait_until(lambda: plant.model(version).status == status, 90, f"version {version} to be {status}")
    return plant.model(version)


def camera(plant: Plant, endpoint: str, key: AccessKey, goes_on: Callable[[], bool]) -> int:
    """Ask for one decision after the other, and never twice for one. → how many were given"""
    lookout, image, given = client(endpoint, key), part(3)[0], 0
    while goes_on():
        lookout.detect_anomalies(ProjectName=plant.project, ModelVersion="1", Body=image, ContentType="image/png")
        given += 1
    return given
