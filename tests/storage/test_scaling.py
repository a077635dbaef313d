"""Inference units between the least and the most: wanted under pressure, given up after a quiet time."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
import sqlalchemy as sa

from storage import schema
from storage.records import Unit, now
from storage.stores import Stores
from tests.storage.arrange import model


def serve(stores: Stores) -> list[Unit]:
    """Claim all that is wanted and have it serve. → the units that serve"""
    for unit in stores.hosting.claim("h", 99):
        stores.hosting.ready("h", unit, f"replica-{unit.slot}", f"h:{9000 + unit.slot}")
    return [unit for unit in stores.hosting.units("h") if unit.wanted]


@pytest.fixture
def first(stores: Stores) -> Unit:
    """The one unit of a model that may have three."""
    stores.catalogue.create_project("p")
    stores.hosting.start(model(stores, "p"), 1, 3)
    [unit] = serve(stores)
    return unit


def slots(stores: Stores) -> list[int]:
    return sorted(unit.slot for unit in stores.hosting.units() if unit.wanted)


def pass_time(stores: Stores, share: float = 1.01) -> None:
    """Let the last pressure be so much of the quiet time ago."""
    before = now() - share * timedelta(seconds=stores.settings.scale_down_seconds)
    with stores.database.transaction() as connection:
        connection.execute(schema.unit.update().where(schema.unit.c.pressed.is_not(None)).values(pressed=before))


def test_units_are_added_one_by_one_up_to_the_most(stores: Stores, first: Unit) -> None:
    assert stores.scaling.press(first)
    assert not stores.scaling.press(first), "the new one is still starting"
    assert slots(stores) == [0, 1]
    _, second = serve(stores)
    assert stores.scaling.press(second)
    serve(stores)
    assert not stores.scaling.press(first), "three are the most"
    assert slots(stores) == [0, 1, 2]
    assert stores.catalogue.model("p", 1).status == "HOSTED"


def test_units_are_given_up_one_by_one_down_to_the_least(stores: Stores, first: Unit) -> None:
    for _ in range(2):
        stores.scaling.press(first)
        serve(stores)
    for share, left in ((0.9, [0, 1, 2]), (1.01, [0, 1]), (0.0, [0, 1]), (1.01, [0]), (5, [0])):
        pass_time(stores, share)
        stores.scaling.relax()
        assert slots(stores) == left
        for unit in stores.hosting.units("h"):
            if not unit.wanted:
                assert unit.address is None, "it is asked nothing more"
                stores.hosting.release("h", unit)
    assert len(stores.hosting.units()) == 1
    assert stores.catalogue.model("p", 1).status == "HOSTED"


def test_pressure_on_one_unit_keeps_all(stores: Stores, first: Unit) -> None:
    stores.scaling.press(first)
    serve(stores)
    pass_time(stores)
    stores.scaling.press(first)
    stores.scaling.relax()
    assert len(slots(stores)) == 3


def test_a_unit_that_does_not_start_is_given_up_first(stores: Stores, first: Unit) -> None:
    stores.scaling.press(first)
    _, second = serve(stores)
    stores.scaling.press(first)
    serve(stores)
    stores.hosting.lost("h", second, "out of memory")
    pass_time(stores)
    stores.scaling.relax()
    assert slots(stores) == [0, 2]


def test_a_slot_that_is_still_held_is_not_given_twice(stores: Stores, first: Unit) -> None:
    stores.scaling.press(first)
    serve(stores)
    pass_time(stores)
    stores.scaling.relax()
    stores.scaling.press(first)
    assert slots(stores) == [0, 2]


def test_a_model_without_a_most_keeps_its_units(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    stores.hosting.start(model(stores, "p"), 2, None)
    units = serve(stores)
    assert not stores.scaling.press(units[0])
    pass_time(stores)
    stores.scaling.relax()
    assert slots(stores) == [0, 1]


def test_a_model_that_is_stopped_gets_no_unit(stores: Stores, first: Unit) -> None:
    stores.hosting.stop(stores.catalogue.model("p", 1))
    assert not stores.scaling.press(first)
    assert slots(stores) == []


def test_replicas_that_call_together_get_one_unit(stores: Stores, first: Unit) -> None:
    gate = Barrier(4)

    def press(_: int) -> bool:
        gate.wait()
        return stores.scaling.press(first)

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(press, range(4))) == [False, False, False, True]
    with stores.database.reading() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.unit)).scalar_one() == 2
