"""A host that is told to leave, while another one is there: its replicas go on until others serve in their place."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

from storage.records import ModelStatus
from tests.conftest import serving, wait_until
from tests.inference.arrange import camera, trained_model, wait_for
from tests.inference.conftest import Start
from tests.trainer.plant import Plant


def test_no_request_fails_when_a_host_leaves(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    plant.stores.hosting.start(trained_model(plant, trained[False]), 2, None)
    # It waits four times as long as it reconciles for the other one, which is there after a few seconds.
    leaving = start(VIGIL_HOST_ID="old", VIGIL_RECONCILE_SECONDS="3", VIGIL_LEASE_SECONDS="30")
    wait_for(plant, ModelStatus.HOSTED)
    before = plant.stores.hosting.addresses(plant.project, 1)
    start(VIGIL_HOST_ID="new")
    key, over = plant.stores.keys.create(), threading.Event()
    with serving(plant.settings, plant.stores) as endpoint, ThreadPoolExecutor(2) as pool:
        cameras = [pool.submit(camera, plant, endpoint, key, lambda: not over.is_set()) for _ in range(2)]
        try:
            leaving.send_signal(signal.SIGTERM)
            wait_for(plant, ModelStatus.SYSTEM_UPDATING)
            assert leaving.wait(120) == 0
            given = sum(1 for asked in cameras if not asked.done())
            wait_for(plant, ModelStatus.HOSTED)
        finally:
            over.set()
        assert given == len(cameras), "both cameras went on until the end"
        assert all(asked.result() > 0 for asked in cameras)
    after = plant.stores.hosting.addresses(plant.project, 1)
    assert len(after) == 2
    assert not set(before) & set(after)
    assert {unit.host for unit in plant.stores.hosting.units()} == {"new"}


def test_a_host_that_is_alone_leaves_at_once(plant: Plant, start: Start, trained: dict[bool, bytes]) -> None:
    plant.stores.hosting.start(trained_model(plant, trained[False]), 1, None)
    host = start()
    wait_for(plant, ModelStatus.HOSTED)
    host.send_signal(signal.SIGTERM)
    assert host.wait(30) == 0
    assert plant.model().status == ModelStatus.HOSTED
    assert [unit.wanted for unit in plant.stores.hosting.units()] == [True]
    start()
    wait_until(lambda: plant.stores.hosting.addresses(plant.project, 1), 90, "the replica again")
