"""Models that tests of hosting begin with."""

from dataclasses import asdict

from storage.objects import OWN_BUCKET, artefact_key
from storage.records import Model, ModelStatus
from tests.conftest import wait_until
from tests.trainer.plant import Plant


def trained_model(plant: Plant, data: bytes) -> Model:
    model, job = plant.create_model([])
    stored = plant.stores.objects.put(OWN_BUCKET, artefact_key(plant.project, model.version, job, 1), data)
    plant.stores.catalogue.move_model(model, ModelStatus.TRAINED, "…", artefact=asdict(stored))
    return plant.model(model.version)


def wait_for(plant: Plant, status: ModelStatus, version: int = 1) -> Model:
    wait_until(lambda: plant.model(version).status == status, 90, f"version {version} to be {status}")
    return plant.model(version)
