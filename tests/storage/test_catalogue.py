from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.catalogue import EntryFilter
from storage.errors import Conflict, Missing
from storage.records import (
    DatasetStatus,
    Entry,
    ImageCounts,
    Model,
    ModelStatus,
    Performance,
    Stored,
    now,
)
from storage.stores import Stores
from tests.storage.arrange import abandoned, model

FEW = settings(max_examples=40)
MOMENT = datetime(2024, 2, 29, 23, 59, 59, 999_999, UTC)


def test_a_model_is_read_back_as_it_was_written(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    written = Model(
        project="p",
        version=3,
        status=ModelStatus.TRAINED,
        message="ü — done",
        created=MOMENT,
        output_bucket="out",
        output_prefix="",
        description="line-3",
        kms_key_id="alias/a",
        options={"vigil:seed": "7"},
        performance=Performance(0.1 + 0.2, 1.0, 0.0),
        evaluated=MOMENT,
        evaluation_result=Stored("out", "r", "a" * 64, 1),
        evaluation_manifest=Stored("out", "m", "b" * 64, 2),
        artefact=Stored("vigil", "d", "c" * 64, 2**40),
        min_units=1,
        max_units=2,
    )
    stores.catalogue.create_model(written, {"b": "2", "a": "1"})
    assert stores.catalogue.model("p", 3) == written
    assert list(stores.catalogue.tags.of("p", 3).items()) == [("a", "1"), ("b", "2")]
    bare = Model("p", 4, ModelStatus.TRAINING, "", MOMENT, "out")
    stores.catalogue.create_model(bare, {})
    assert stores.catalogue.models("p") == [bare, written]


def test_an_entry_is_read_back_as_it_was_written(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    dataset = stores.catalogue.create_dataset("p", "train", DatasetStatus.CREATE_COMPLETE, "made")
    written = [Entry("s3://b/1", '{"ü": 1}', "normal", True, MOMENT), Entry("s3://b/2", "{}", None, False, MOMENT)]
    stores.catalogue.put_entries(dataset, written)
    found = stores.catalogue.entries(dataset)
    assert [entry for _, entry in found] == written
    assert [number for number, _ in found] == sorted({number for number, _ in found})
    assert stores.catalogue.entries(dataset, after=found[0][0]) == found[1:]
    assert stores.catalogue.entries(dataset, limit=1) == found[:1]


@FEW
@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)), st.integers(-14, 14))
def test_a_moment_survives_to_the_microsecond_whatever_its_zone(stores: Stores, moment: datetime, hours: int) -> None:
    written = moment.replace(tzinfo=timezone(timedelta(hours=hours)))
    name = f"p{written.timestamp()}{hours}"
    with abandoned(stores.database.transaction()):
        stores.catalogue.create_project(name)
        made = Model(name, 1, ModelStatus.TRAINED, "", written, "out")
        stores.catalogue.create_model(made, {})
        assert abs(stores.catalogue.model(name, 1).created - written) <= timedelta(microseconds=1)


def test_an_entry_replaces_one_with_the_same_source_ref_and_keeps_its_place(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    dataset = stores.catalogue.create_dataset("p", "train", DatasetStatus.CREATE_COMPLETE, "made")
    stores.catalogue.put_entries(dataset, [Entry(f"s3://b/{n}", "{}", "normal") for n in range(3)])
    stores.catalogue.put_entries(dataset, [Entry("s3://b/1", '{"new":1}', "anomaly", True)])
    found = [entry for _, entry in stores.catalogue.entries(dataset)]
    assert [entry.source_ref for entry in found] == ["s3://b/0", "s3://b/1", "s3://b/2"]
    assert (found[1].line, found[1].label, found[1].has_mask) == ('{"new":1}', "anomaly", True)
    assert stores.catalogue.dataset("p", "train").counts == ImageCounts(3, 3, 2, 1)


def test_more_entries_than_are_written_at_once(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    dataset = stores.catalogue.create_dataset("p", "train", DatasetStatus.CREATE_COMPLETE, "made")
    for label in ("normal", "anomaly"):
        stores.catalogue.put_entries(dataset, [Entry(f"s3://b/{n}", "{}", label) for n in range(2345)])
    assert stores.catalogue.dataset("p", "train").counts == ImageCounts(2345, 2345, 0, 2345)


@FEW
@given(st.text(st.sampled_from("aA%_/\\'ü*?["), min_size=1, max_size=3), st.data())
def test_what_a_source_ref_contains_is_taken_literally(stores: Stores, wanted: str, data: Any) -> None:
    keys = data.draw(st.sets(st.text(st.sampled_from("aA%_/\\'ü*?["), max_size=5), max_size=6))
    with abandoned(stores.database.transaction()):
        stores.catalogue.create_project("p")
        dataset = stores.catalogue.create_dataset("p", "train", DatasetStatus.CREATE_COMPLETE, "made")
        stores.catalogue.put_entries(dataset, [Entry(key, "{}", None) for key in sorted(keys)])
        found = stores.catalogue.entries(dataset, EntryFilter(contains=wanted))
        assert [entry.source_ref for _, entry in found] == [key for key in sorted(keys) if wanted in key]


def test_entries_go_with_their_data_set(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    for type_ in ("train", "test"):
        dataset = stores.catalogue.create_dataset("p", type_, DatasetStatus.CREATE_COMPLETE, "made")
        stores.catalogue.put_entries(dataset, [Entry("s3://b/1", "{}", "normal")])
    stores.catalogue.delete_dataset("p", "train")
    again = stores.catalogue.create_dataset("p", "train", DatasetStatus.CREATE_COMPLETE, "made")
    assert stores.catalogue.entries(again) == []
    assert [dataset.counts.total for dataset in stores.catalogue.datasets("p")] == [0, 1]


def test_what_is_missing_is_named(stores: Stores) -> None:
    catalogue = stores.catalogue
    calls: list[tuple[Any, str, str]] = [
        (lambda: catalogue.project("p"), "PROJECT", "p"),
        (lambda: catalogue.delete_project("p"), "PROJECT", "p"),
        (lambda: catalogue.create_dataset("p", "train", DatasetStatus.CREATE_COMPLETE, ""), "PROJECT", "p"),
        (lambda: catalogue.next_version("p"), "PROJECT", "p"),
        (lambda: catalogue.model("p", 1), "PROJECT", "p"),
        (lambda: catalogue.dataset("q", "train"), "DATASET", "q/train"),
        (lambda: catalogue.delete_dataset("q", "test"), "DATASET", "q/test"),
        (lambda: catalogue.model("q", 1), "MODEL", "q/1"),
        (lambda: catalogue.model("q", None), "MODEL", "q/latest"),
    ]
    catalogue.create_project("q")
    for call, kind, resource in calls:
        with pytest.raises(Missing) as caught:
            call()
        assert (caught.value.kind, caught.value.resource) == (kind, resource)


def test_only_a_model_that_is_deleting_is_removed(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    trained, deleting = model(stores, "p"), model(stores, "p", ModelStatus.DELETING)
    stores.catalogue.delete_model(trained)
    stores.catalogue.delete_model(deleting)
    assert stores.catalogue.models("p") == [trained]


def test_progress_is_told_only_of_a_model_in_training(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    for status in (ModelStatus.TRAINING, ModelStatus.TRAINED):
        found = model(stores, "p", status)
        stores.catalogue.note_progress(found, ModelStatus.TRAINING, "fitting, 40%")
    assert [m.message for m in stores.catalogue.models("p")] == ["arranged", "fitting, 40%"]


def test_version_numbers_go_on_after_everything_was_deleted(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    assert [stores.catalogue.next_version("p") for _ in range(3)] == [1, 2, 3]
    deleting = model(stores, "p", ModelStatus.DELETING)
    stores.catalogue.delete_model(deleting)
    assert stores.catalogue.next_version("p") == 5


def test_a_project_with_anything_left_stays(stores: Stores) -> None:
    stores.catalogue.create_project("p")
    model(stores, "p")
    with pytest.raises(Conflict):
        stores.catalogue.delete_project("p")
    assert stores.catalogue.project("p").created <= now()
