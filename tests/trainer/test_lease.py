"""The heartbeat lives while torch computes."""

import time

import torch

from storage.records import now
from tests.trainer.plant import Plant
from trainer.lease import Lease


def test_heartbeat_is_not_starved_by_torch(plant: Plant) -> None:
    _, id_ = plant.create_model(plant.render(1, 1))
    job = plant.stores.jobs.claim(id_)
    assert job is not None
    matrix, rounds = torch.rand(1500, 1500), 0
    end = time.monotonic() + 2 * plant.settings.lease_seconds
    with Lease(plant.settings.heartbeat_seconds).held(plant.stores.jobs, job):
        while time.monotonic() < end:
            matrix = (matrix @ matrix).softmax(dim=1)
            torch.cdist(matrix, matrix).sort(dim=1)
            rounds += 1
        assert plant.stores.jobs.claim(id_) is None
    assert rounds
    assert now() > job.lease_until
    assert plant.stores.jobs.keep(job)
