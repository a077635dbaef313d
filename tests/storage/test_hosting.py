from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest

from storage import schema
from storage.errors import Conflict, Missing
from storage.records import Model, ModelStatus, Serving, Unit, now
from storage.stores import Stores
from tests.storage.arrange import model


@pytest.fixture
def trained(stores: Stores) -> Model:
    stores.catalogue.create_project("p")
    return model(stores, "p")


def start(stores: Stores, trained: Model, units: int = 1) -> None:
    stores.hosting.start(trained, units, None)


def status(stores: Stores) -> str:
    return stores.catalogue.model("p", 1).status


def ready(stores: Stores, host: str, *units: Unit) -> None:
    for unit in units:
        stores.hosting.ready(host, unit, f"replica-{unit.slot}", f"{host}:{9000 + unit.slot}")


def lapse(stores: Stores, host: str) -> None:
    """Let the leases of a host be over."""
    over = schema.unit.update().where(schema.unit.c.host == host).values(lease_until=now() - timedelta(seconds=1))
    with stores.database.transaction() as connection:
        connection.execute(over)


def test_from_start_to_stop(stores: Stores, trained: Model) -> None:
    start(stores, trained)
    assert (status(stores), stores.hosting.addresses("p", 1)) == ("STARTING_HOSTING", [])
    [unit] = stores.hosting.claim("h", 4)
    assert (unit.project, unit.version, unit.slot, unit.wanted) == ("p", 1, 0, True)
    assert status(stores) == "STARTING_HOSTING", "a unit that is held takes no requests yet"
    ready(stores, "h", unit)
    assert (status(stores), stores.hosting.addresses("p", 1)) == ("HOSTED", [("replica-0", "h:9000")])
    stores.hosting.stop(stores.catalogue.model("p", 1))
    assert (status(stores), stores.hosting.addresses("p", 1)) == ("STOPPING_HOSTING", [])
    assert [held.wanted for held in stores.hosting.units("h")] == [False]
    stores.hosting.release("h", unit)
    assert (status(stores), stores.hosting.units()) == ("TRAINED", [])
    found = stores.catalogue.model("p", 1)
    assert (found.min_units, found.max_units) == (None, None)
    start(stores, found)
    assert status(stores) == "STARTING_HOSTING"


def hosted_by(stores: Stores, trained: Model, host: str) -> Unit:
    start(stores, trained)
    [unit] = stores.hosting.claim(host, 4)
    ready(stores, host, unit)
    return unit


def test_a_unit_is_handed_over(stores: Stores, trained: Model) -> None:
    old = hosted_by(stores, trained, "a")
    heir = stores.hosting.hand_over("a", old)
    assert heir is not None
    assert status(stores) == "SYSTEM_UPDATING"
    [taken] = stores.hosting.claim("b", 4)
    assert (taken.slot, taken.succeeds) == (heir.slot, old.slot)
    ready(stores, "b", taken)
    assert len(stores.hosting.addresses("p", 1)) == 2, "both serve for a moment"
    stores.hosting.retire("a", old)
    assert (status(stores), stores.hosting.addresses("p", 1)) == ("SYSTEM_UPDATING", [("replica-1", "b:9001")])
    stores.hosting.release("a", old)
    assert status(stores) == "HOSTED"
    assert [(unit.host, unit.succeeds) for unit in stores.hosting.units()] == [("b", None)]


def test_a_unit_that_nobody_takes_over_stays(stores: Stores, trained: Model) -> None:
    old = hosted_by(stores, trained, "a")
    heir = stores.hosting.hand_over("a", old)
    assert heir is not None
    stores.hosting.withdraw(heir)
    assert (status(stores), stores.hosting.addresses("p", 1)) == ("HOSTED", [("replica-0", "a:9000")])
    assert [unit.slot for unit in stores.hosting.units()] == [old.slot]


def test_a_unit_that_cannot_serve_elsewhere_stays(stores: Stores, trained: Model) -> None:
    old = hosted_by(stores, trained, "a")
    assert stores.hosting.hand_over("a", old) is not None
    [taken] = stores.hosting.claim("b", 4)
    stores.hosting.withdraw(taken)
    assert (status(stores), stores.hosting.addresses("p", 1)) == ("HOSTED", [("replica-0", "a:9000")])
    assert [unit.wanted for unit in stores.hosting.units("b")] == [False], "its host stops the replica first"
    stores.hosting.release("b", taken)
    assert [unit.slot for unit in stores.hosting.units()] == [old.slot]


def test_a_host_that_dies_while_it_hands_over_leaves_no_unit_too_many(stores: Stores, trained: Model) -> None:
    old = hosted_by(stores, trained, "a")
    assert stores.hosting.hand_over("a", old) is not None
    lapse(stores, "a")
    [taken] = stores.hosting.claim("b", 4)
    assert taken.succeeds == old.slot
    stores.hosting.clear()
    assert [unit.slot for unit in stores.hosting.units()] == [taken.slot]
    assert status(stores) == "HOSTED"


def test_only_what_serves_is_handed_over(stores: Stores, trained: Model) -> None:
    start(stores, trained)
    [unit] = stores.hosting.claim("a", 4)
    assert stores.hosting.hand_over("a", unit) is None
    ready(stores, "a", unit)
    stores.hosting.stop(stores.catalogue.model("p", 1))
    assert stores.hosting.hand_over("a", unit) is None


def test_what_a_detection_needs_to_know(stores: Stores, trained: Model) -> None:
    for version in (1, None):
        assert stores.hosting.serving("p", version) == Serving("p", 1, ModelStatus.TRAINED, ())
    start(stores, trained, 3)
    units = stores.hosting.claim("h", 4)
    ready(stores, "h", units[2], units[0])
    model(stores, "p")
    serving = stores.hosting.serving("p", 1)
    assert (serving.status, serving.replicas) == (
        "STARTING_HOSTING",
        (("replica-0", "h:9000"), ("replica-2", "h:9002")),
    )
    assert stores.hosting.serving("p", None) == Serving("p", 2, ModelStatus.TRAINED, ()), "the newest"
    lapse(stores, "h")
    assert stores.hosting.serving("p", 1).replicas == ()
    for project, version, kind in (("p", 3, "MODEL"), ("q", 1, "PROJECT"), ("q", None, "PROJECT")):
        with pytest.raises(Missing) as missing:
            stores.hosting.serving(project, version)
        assert missing.value.kind == kind


def test_a_model_is_hosted_when_the_last_of_its_units_is_ready(stores: Stores, trained: Model) -> None:
    start(stores, trained, 3)
    units = stores.hosting.claim("h", 9)
    for number, unit in enumerate(units, 1):
        assert status(stores) == "STARTING_HOSTING"
        ready(stores, "h", unit)
        assert len(stores.hosting.addresses("p", 1)) == number
    assert status(stores) == "HOSTED"


def test_a_replica_that_died_while_others_started_does_not_count(stores: Stores, trained: Model) -> None:
    start(stores, trained, 2)
    first, second = stores.hosting.claim("h", 9)
    ready(stores, "h", first)
    assert stores.hosting.lost("h", first, "killed") == 1
    ready(stores, "h", second)
    assert status(stores) == "STARTING_HOSTING"
    ready(stores, "h", first)
    assert status(stores) == "HOSTED"


def test_failures_are_counted_until_a_replica_is_ready(stores: Stores, trained: Model) -> None:
    start(stores, trained)
    stores.hosting.claim("h", 1)
    for number in (1, 2, 3):
        [unit] = stores.hosting.units("h")
        assert stores.hosting.lost("h", unit, "out of memory") == number
    [unit] = stores.hosting.units("h")
    assert (unit.failures, unit.failure, unit.replica, unit.address) == (3, "out of memory", None, None)
    ready(stores, "h", unit)
    [unit] = stores.hosting.units("h")
    assert (unit.failures, unit.failure) == (0, None)


def test_a_hosted_model_stays_hosted_while_a_replica_is_replaced(stores: Stores, trained: Model) -> None:
    start(stores, trained)
    [unit] = stores.hosting.claim("h", 1)
    ready(stores, "h", unit)
    stores.hosting.lost("h", unit, "killed")
    assert (status(stores), stores.hosting.addresses("p", 1)) == ("HOSTED", [])
    ready(stores, "h", unit)
    assert (status(stores), len(stores.hosting.addresses("p", 1))) == ("HOSTED", 1)


def test_a_stop_while_starting_wins_over_a_replica_that_gets_ready(stores: Stores, trained: Model) -> None:
    start(stores, trained, 2)
    first, second = stores.hosting.claim("h", 9)
    ready(stores, "h", first)
    stores.hosting.stop(stores.catalogue.model("p", 1))
    ready(stores, "h", second)
    assert (status(stores), stores.hosting.addresses("p", 1)) == ("STOPPING_HOSTING", [])
    stores.hosting.release("h", first)
    assert status(stores) == "STOPPING_HOSTING"
    stores.hosting.release("h", second)
    assert status(stores) == "TRAINED"


def test_a_stop_with_nobody_holding_a_unit_is_settled_by_whoever_clears(stores: Stores, trained: Model) -> None:
    start(stores, trained, 2)
    stores.hosting.stop(stores.catalogue.model("p", 1))
    assert stores.hosting.claim("h", 9) == [], "what is not wanted is not claimed"
    stores.hosting.clear()
    assert (status(stores), stores.hosting.units()) == ("TRAINED", [])


def test_clearing_leaves_units_that_a_living_host_holds(stores: Stores, trained: Model) -> None:
    start(stores, trained, 2)
    stores.hosting.claim("h", 1)
    stores.hosting.clear()
    assert len(stores.hosting.units()) == 2, "wanted units stay"
    stores.hosting.stop(stores.catalogue.model("p", 1))
    stores.hosting.clear()
    assert (status(stores), len(stores.hosting.units())) == ("STOPPING_HOSTING", 1)
    lapse(stores, "h")
    stores.hosting.clear()
    assert (status(stores), stores.hosting.units()) == ("TRAINED", [])


def test_giving_up_tells_why_and_wants_no_unit_any_more(stores: Stores, trained: Model) -> None:
    start(stores, trained, 2)
    first, second = stores.hosting.claim("h", 9)
    ready(stores, "h", first)
    stores.hosting.fail(stores.catalogue.model("p", 1), "the backbone is another one")
    found = stores.catalogue.model("p", 1)
    assert (found.status, found.message) == ("HOSTING_FAILED", "the backbone is another one")
    assert stores.hosting.addresses("p", 1) == []
    stores.hosting.release("h", first)
    stores.hosting.release("h", second)
    assert (status(stores), stores.hosting.units()) == ("HOSTING_FAILED", [])
    stores.hosting.stop(stores.catalogue.model("p", 1))
    assert status(stores) == "TRAINED", "nothing is left to wait for"


def test_a_failed_model_can_be_started_again_over_units_that_are_still_held(stores: Stores, trained: Model) -> None:
    start(stores, trained)
    [old] = stores.hosting.claim("h", 1)
    stores.hosting.fail(stores.catalogue.model("p", 1), "no")
    start(stores, stores.catalogue.model("p", 1), 2)
    with pytest.raises(Conflict, match="no longer held by h"):
        ready(stores, "h", old)
    stores.hosting.release("h", old)
    assert len(stores.hosting.units()) == 2, "the new units are untouched"
    ready(stores, "h", *stores.hosting.claim("h", 9))
    assert status(stores) == "HOSTED"


def test_a_failed_model_can_be_deleted_while_a_host_still_holds_its_units(stores: Stores, trained: Model) -> None:
    start(stores, trained)
    [unit] = stores.hosting.claim("h", 1)
    failed = stores.catalogue.model("p", 1)
    stores.hosting.fail(failed, "no")
    stores.catalogue.move_model(failed, ModelStatus.DELETING, "deleting")
    stores.catalogue.delete_model(failed)
    assert stores.catalogue.models("p") == []
    stores.hosting.release("h", unit)
    stores.hosting.clear()
    assert stores.hosting.units() == []


def test_two_hosts_hold_different_units(stores: Stores, trained: Model) -> None:
    start(stores, trained, 4)
    gate = Barrier(2)

    def claim(host: str) -> list[int]:
        gate.wait()
        return [unit.slot for unit in stores.hosting.claim(host, 3)]

    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(claim, ("a", "b"))
    assert sorted(one + other) == [0, 1, 2, 3]
    assert {unit.host for unit in stores.hosting.units()} == {"a", "b"}


def test_a_host_claims_no_more_than_it_has_room_for(stores: Stores, trained: Model) -> None:
    start(stores, trained, 3)
    assert stores.hosting.claim("h", 0) == []
    assert len(stores.hosting.claim("h", 2)) == 2
    assert len(stores.hosting.claim("h", 2)) == 1


def test_the_units_of_a_lost_host_are_claimed_by_another(stores: Stores, trained: Model) -> None:
    start(stores, trained, 2)
    held = stores.hosting.claim("a", 9)
    ready(stores, "a", *held)
    assert stores.hosting.claim("b", 9) == []
    lapse(stores, "a")
    assert stores.hosting.addresses("p", 1) == [], "a host that is silent takes no requests"
    taken = stores.hosting.claim("b", 9)
    assert [unit.slot for unit in taken] == [0, 1]
    for late in (
        lambda: stores.hosting.keep("a", held[0]),
        lambda: ready(stores, "a", held[0]),
        lambda: stores.hosting.lost("a", held[0], "late"),
    ):
        with pytest.raises(Conflict, match="no longer held by a"):
            late()
    ready(stores, "b", *taken)
    assert [address for _, address in stores.hosting.addresses("p", 1)] == ["b:9000", "b:9001"]


def test_a_host_that_was_silent_keeps_what_nobody_took(stores: Stores, trained: Model) -> None:
    start(stores, trained)
    held = stores.hosting.claim("a", 9)
    ready(stores, "a", *held)
    lapse(stores, "a")
    for unit in held:
        stores.hosting.keep("a", unit)
    assert len(stores.hosting.addresses("p", 1)) == 1
    assert stores.hosting.claim("b", 9) == []


def test_a_host_that_starts_anew_gives_up_what_it_held_before(stores: Stores, trained: Model) -> None:
    start(stores, trained, 2)
    ready(stores, "a", *stores.hosting.claim("a", 9))
    stores.hosting.forget("a")
    assert (stores.hosting.addresses("p", 1), status(stores)) == ([], "HOSTED")
    assert len(stores.hosting.claim("a", 9)) == 2


@pytest.mark.parametrize("units", [1, 5])
def test_nothing_is_started_or_stopped_twice(stores: Stores, trained: Model, units: int) -> None:
    start(stores, trained, units)
    with pytest.raises(Conflict, match="needs HOSTING_FAILED or TRAINED"):
        start(stores, trained, 9)
    assert len(stores.hosting.units()) == units
    stores.hosting.stop(trained)
    with pytest.raises(Conflict):
        stores.hosting.stop(trained)


def test_models_do_not_share_their_units(stores: Stores, trained: Model) -> None:
    other: Any = model(stores, "p")
    start(stores, trained)
    start(stores, other)
    held = stores.hosting.claim("h", 9)
    ready(stores, "h", *[unit for unit in held if unit.version == 1])
    assert [m.status for m in stores.catalogue.models("p")] == ["STARTING_HOSTING", "HOSTED"]
    stores.hosting.stop(stores.catalogue.model("p", 1))
    assert [unit.wanted for unit in stores.hosting.units() if unit.version == 2] == [True]
