"""Inference units that come under load and go after it, while cameras go on: real replicas behind the API."""

import threading
from concurrent.futures import ThreadPoolExecutor

from storage.records import ModelStatus
from tests.conftest import serving, wait_until
from tests.inference.arrange import camera, trained_model, wait_for
from tests.inference.conftest import Start
from tests.trainer.plant import Plant


def test_no_request_fails_when_units_come_and_go(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    plant.stores.hosting.start(trained_model(plant, trained[False]), 1, 2)
    start(VIGIL_SCALE_UP_SECONDS="0.003", VIGIL_SCALE_DOWN_SECONDS="2")
    wait_for(plant, ModelStatus.HOSTED)
    key = plant.stores.keys.create()
    rush, over = threading.Event(), threading.Event()
    rush.set()

    def always() -> bool:
        return not over.is_set()

    def in_the_rush() -> bool:
        return rush.is_set()

    with serving(plant.settings, plant.stores) as endpoint, ThreadPoolExecutor(6) as pool:
        cameras = [pool.submit(camera, plant, endpoint, key, in_the_rush if n else always) for n in range(6)]
        try:
            wait_until(lambda: len(plant.stores.hosting.addresses(plant.project, 1)) == 2, 60, "another unit")
            rush.clear()
            wait_until(lambda: len(plant.stores.hosting.units()) == 1, 60, "the unit to be given up")
        finally:
            rush.clear()
            over.set()
        assert all(asked.result() > 0 for asked in cameras)
    assert plant.model().status == ModelStatus.HOSTED
