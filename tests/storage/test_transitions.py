"""The two lists of allowed changes of status, and that they are closed."""

from collections.abc import Mapping

import pytest

from storage.errors import Conflict
from storage.records import (
    DATASET_TRANSITIONS,
    MODEL_TRANSITIONS,
    Dataset,
    DatasetStatus,
    ModelStatus,
    origins,
)
from storage.stores import Stores
from tests.storage.arrange import model

MODELS = """
TRAINING → TRAINED TRAINING_FAILED
TRAINED → STARTING_HOSTING DELETING
TRAINING_FAILED → DELETING
STARTING_HOSTING → HOSTED HOSTING_FAILED STOPPING_HOSTING
HOSTED → STOPPING_HOSTING SYSTEM_UPDATING
HOSTING_FAILED → STARTING_HOSTING STOPPING_HOSTING DELETING
STOPPING_HOSTING → TRAINED
SYSTEM_UPDATING → HOSTED
DELETING →
"""
DATASETS = """
CREATE_IN_PROGRESS → CREATE_COMPLETE CREATE_FAILED
CREATE_COMPLETE → UPDATE_IN_PROGRESS
CREATE_FAILED →
UPDATE_IN_PROGRESS → UPDATE_COMPLETE UPDATE_FAILED_ROLLBACK_IN_PROGRESS
UPDATE_COMPLETE → UPDATE_IN_PROGRESS
UPDATE_FAILED_ROLLBACK_IN_PROGRESS → UPDATE_FAILED_ROLLBACK_COMPLETE
UPDATE_FAILED_ROLLBACK_COMPLETE → UPDATE_IN_PROGRESS
"""


def written(text: str) -> Mapping[str, set[str]]:
    lines = (line.split("→") for line in text.strip().splitlines())
    return {origin.strip(): set(targets.split()) for origin, targets in lines}


def test_the_tables_are_those_of_the_design() -> None:
    assert written(MODELS) == MODEL_TRANSITIONS
    assert written(DATASETS) == DATASET_TRANSITIONS


def test_the_tables_are_closed() -> None:
    assert set(MODEL_TRANSITIONS) == set(ModelStatus)
    assert set(DATASET_TRANSITIONS) == set(DatasetStatus)


def test_origins_are_the_table_read_backwards() -> None:
    for target in ModelStatus:
        for origin in ModelStatus:
            assert (origin in origins(MODEL_TRANSITIONS, target)) == (target in MODEL_TRANSITIONS[origin])


def test_every_model_can_be_deleted_in_the_end() -> None:
    reached = {ModelStatus.DELETING}
    while more := {o for o, targets in MODEL_TRANSITIONS.items() if targets & reached} - reached:
        reached |= more
    assert reached == set(ModelStatus)


def test_a_model_moves_exactly_as_the_table_says(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    for origin in ModelStatus:
        for target in ModelStatus:
            before = model(stores, "p", origin)
            if target in MODEL_TRANSITIONS[origin]:
                stores.catalogue.move_model(before, target, "moved")
                after = stores.catalogue.model("p", before.version)
                assert (after.status, after.message) == (target, "moved")
            else:
                with pytest.raises(Conflict, match=origin) as caught:
                    stores.catalogue.move_model(before, target, "moved")
                assert (caught.value.kind, caught.value.resource) == ("MODEL", f"p/{before.version}")
                assert stores.catalogue.model("p", before.version) == before


def test_a_data_set_moves_exactly_as_the_table_says(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    for origin in DatasetStatus:
        for target in DatasetStatus:
            before = stores.catalogue.create_dataset("p", "train", origin, "arranged")
            if target in DATASET_TRANSITIONS[origin]:
                stores.catalogue.move_dataset(before, target, "moved")
                after = stores.catalogue.dataset("p", "train")
                assert (after.status, after.message, after.updated > before.updated) == (target, "moved", True)
            else:
                with pytest.raises(Conflict, match=origin) as caught:
                    stores.catalogue.move_dataset(before, target, "moved")
                assert (caught.value.kind, caught.value.resource) == ("DATASET", "p/train")
                assert stores.catalogue.dataset("p", "train") == before
            stores.catalogue.delete_dataset("p", "train")


def test_a_data_set_that_was_made_again_is_not_moved_by_a_job_of_its_predecessor(stores: Stores) -> None:
    stores.catalogue.create_project("p")

    def made() -> Dataset:
        return stores.catalogue.create_dataset("p", "train", DatasetStatus.CREATE_IN_PROGRESS, "importing")

    old = made()
    stores.catalogue.delete_dataset("p", "train")
    new = made()
    with pytest.raises(Conflict):
        stores.catalogue.move_dataset(old, DatasetStatus.CREATE_COMPLETE, "imported")
    assert stores.catalogue.dataset("p", "train") == new
    assert stores.catalogue.dataset_by_id(old.id) is None


def test_a_change_carries_the_members_that_belong_to_it_or_nothing(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    before = model(stores, "p", ModelStatus.HOSTED)
    with pytest.raises(Conflict):
        stores.catalogue.move_model(before, ModelStatus.STARTING_HOSTING, "again", min_units=9)
    assert stores.catalogue.model("p", before.version).min_units is None
