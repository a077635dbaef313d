import base64
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from storage.jobs import IMPORT
from storage.objects import OWN_BUCKET
from storage.records import DatasetStatus
from storage.stores import Stores
from tests.api import arrange
from tests.api.raw import Raw
from tests.api.refusals import assert_refused

CHANGES = arrange.line("a.png").encode() + b"\n"


@pytest.fixture
def train(lookout: Any, project: str) -> str:
    """A project with an empty training data set."""
    lookout.create_dataset(ProjectName=project, DatasetType="train")
    return project


def listed(lookout: Any, project: str, **filters: Any) -> list[str]:
    """The keys of the images that are listed."""
    answer = lookout.list_dataset_entries(ProjectName=project, DatasetType="train", **filters)
    return [json.loads(line)["source-ref"].removeprefix("s3://plant/") for line in answer["DatasetEntries"]]


def test_an_update_is_in_progress_as_soon_as_it_is_acknowledged(lookout: Any, stores: Stores, train: str) -> None:
    answer = lookout.update_dataset_entries(ProjectName=train, DatasetType="train", Changes=CHANGES)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["Status"] == "UPDATE_IN_PROGRESS"
    found = lookout.describe_dataset(ProjectName=train, DatasetType="train")["DatasetDescription"]
    assert found["Status"] == "UPDATE_IN_PROGRESS"
    assert found["LastUpdatedTimestamp"] > found["CreationTimestamp"]
    dataset = stores.catalogue.dataset(train, "train")
    [payload] = arrange.jobs(stores, IMPORT, dataset=dataset.id)
    assert stores.objects.get(OWN_BUCKET, payload["changes"]) == CHANGES


@pytest.mark.parametrize(
    "status",
    [
        DatasetStatus.CREATE_COMPLETE,
        DatasetStatus.UPDATE_COMPLETE,
        DatasetStatus.UPDATE_FAILED_ROLLBACK_COMPLETE,
        DatasetStatus.CREATE_IN_PROGRESS,
        DatasetStatus.CREATE_FAILED,
        DatasetStatus.UPDATE_IN_PROGRESS,
        DatasetStatus.UPDATE_FAILED_ROLLBACK_IN_PROGRESS,
    ],
)
def test_only_a_data_set_at_rest_is_updated(lookout: Any, stores: Stores, project: str, status: DatasetStatus) -> None:
    stores.catalogue.create_dataset(project, "train", status, "arranged")
    if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_FAILED_ROLLBACK_COMPLETE"):
        lookout.update_dataset_entries(ProjectName=project, DatasetType="train", Changes=CHANGES)
        assert stores.catalogue.dataset(project, "train").status == "UPDATE_IN_PROGRESS"
    else:
        with assert_refused("ConflictException", status) as error:
            lookout.update_dataset_entries(ProjectName=project, DatasetType="train", Changes=CHANGES)
        assert error["ResourceType"] == "DATASET"
        assert stores.catalogue.dataset(project, "train").status == status


def test_a_data_set_that_is_not_there_is_named(lookout: Any, project: str) -> None:
    for call, more in ((lookout.list_dataset_entries, {}), (lookout.update_dataset_entries, {"Changes": CHANGES})):
        with assert_refused("ResourceNotFoundException", "no train data set") as error:
            call(ProjectName=project, DatasetType="train", **more)
        assert (error["ResourceId"], error["ResourceType"]) == (f"{project}/train", "DATASET")


def test_ten_megabytes_of_changes_are_taken_and_one_byte_more_is_not(lookout: Any, train: str) -> None:
    with assert_refused("ValidationException", "Changes must be 1 to 10,485,760 bytes"):
        lookout.update_dataset_entries(ProjectName=train, DatasetType="train", Changes=b" " * 10_485_761)
    with assert_refused("ValidationException", "larger than 16,777,216 bytes"):
        lookout.update_dataset_entries(ProjectName=train, DatasetType="train", Changes=b" " * 13_000_000)
    answer = lookout.update_dataset_entries(ProjectName=train, DatasetType="train", Changes=b" " * 10_485_760)
    assert answer["Status"] == "UPDATE_IN_PROGRESS"


@pytest.mark.parametrize("changes", ["", "{}", CHANGES.decode(), "ab=c", "YQ", "YW Jj", 5, None, ["YQ=="]])
def test_changes_that_are_not_base64_are_refused(raw: Raw, train: str, changes: Any) -> None:
    answer = raw.json("PATCH", f"/projects/{train}/datasets/train/entries", {"Changes": changes})
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert "Changes" in answer.json()["Message"]


def test_the_lines_come_back_as_they_were_put(lookout: Any, stores: Stores, train: str) -> None:
    entries = [arrange.entry("ü 1.png"), arrange.entry("b.png", "anomaly"), arrange.entry("c.png", None)]
    arrange.fill(stores, train, entries)
    answer = lookout.list_dataset_entries(ProjectName=train, DatasetType="train")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["DatasetEntries"] == [entry.line for entry in entries]
    assert "NextToken" not in answer


def test_a_replaced_entry_keeps_its_place(lookout: Any, stores: Stores, train: str) -> None:
    arrange.fill(stores, train, [arrange.entry("a.png"), arrange.entry("b.png")])
    arrange.fill(stores, train, [arrange.entry("c.png"), arrange.entry("a.png", "anomaly")])
    assert listed(lookout, train) == ["a.png", "b.png", "c.png"]
    assert listed(lookout, train, AnomalyClass="anomaly") == ["a.png"]


@pytest.fixture
def mixed(stores: Stores, train: str) -> str:
    """A training data set with a few entries of each kind, made on three days."""
    kinds = [("N-1.png", "normal", 1), ("n_2%.png", "normal", 2), ("a-1.png", "anomaly", 2), ("u/1.png", None, 3)]
    days = [arrange.entry(name, label, datetime(2024, 3, day, 12, 0, 0, 500_000, UTC)) for name, label, day in kinds]
    arrange.fill(stores, train, days)
    return train


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"Labeled": True}, ["N-1.png", "n_2%.png", "a-1.png"]),
        ({"Labeled": False}, ["u/1.png"]),
        ({"AnomalyClass": "normal"}, ["N-1.png", "n_2%.png"]),
        ({"AnomalyClass": "anomaly"}, ["a-1.png"]),
        ({"AnomalyClass": "anomaly", "Labeled": False}, []),
        ({"SourceRefContains": "-1"}, ["N-1.png", "a-1.png"]),
        ({"SourceRefContains": "n"}, ["N-1.png", "n_2%.png", "a-1.png", "u/1.png"]),
        ({"SourceRefContains": "N"}, ["N-1.png"]),
        ({"SourceRefContains": "%"}, ["n_2%.png"]),
        ({"SourceRefContains": "_"}, ["n_2%.png"]),
        ({"SourceRefContains": "/1"}, ["u/1.png"]),
        ({"SourceRefContains": "plant/u"}, ["u/1.png"]),
        ({"SourceRefContains": "\\"}, []),
        ({"SourceRefContains": "s3://plant/N-1.png"}, ["N-1.png"]),
        ({"BeforeCreationDate": datetime(2024, 3, 2, 12, 0, 0, 500_000, UTC)}, ["N-1.png"]),
        ({"BeforeCreationDate": datetime(2024, 3, 2, 12, 0, 1, tzinfo=UTC)}, ["N-1.png", "n_2%.png", "a-1.png"]),
        ({"AfterCreationDate": datetime(2024, 3, 2, 12, 0, 0, 500_000, UTC)}, ["u/1.png"]),
        ({"AfterCreationDate": datetime(2024, 3, 2, 12, 0, 0, tzinfo=UTC)}, ["n_2%.png", "a-1.png", "u/1.png"]),
        (
            {
                "AfterCreationDate": datetime(2024, 3, 1, 13, tzinfo=UTC),
                "BeforeCreationDate": datetime(2024, 3, 3, tzinfo=UTC),
                "AnomalyClass": "normal",
            },
            ["n_2%.png"],
        ),
    ],
)
def test_filters(lookout: Any, mixed: str, filters: dict[str, Any], expected: list[str]) -> None:
    assert listed(lookout, mixed, **filters) == expected


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock shows local time, nine hours ahead of UTC."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("elsewhere")
@pytest.mark.parametrize("date", ["2024-03-01T14:00:00+01:00", "2024-03-01T13:00:00", "1709298000"])
def test_dates_mean_utc_unless_they_say_otherwise(raw: Raw, mixed: str, date: str) -> None:
    answer = raw("GET", f"/projects/{mixed}/datasets/train/entries?createdAfter={quote(date)}&maxResults=1")
    [line] = answer.json()["DatasetEntries"]
    assert json.loads(line)["source-ref"] == "s3://plant/n_2%.png"


def token(cursor: str) -> str:
    """A NextToken that is well formed."""
    return base64.b64encode(cursor.encode()).decode()


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("anomalyClass", "Normal"),
        ("anomalyClass", ""),
        ("labeled", "maybe"),
        ("labeled", ""),
        ("maxResults", "0"),
        ("maxResults", "101"),
        ("maxResults", "-1"),
        ("maxResults", "ten"),
        ("maxResults", "1.5"),
        ("sourceRefContains", ""),
        ("sourceRefContains", "  "),
        ("sourceRefContains", "a" * 2049),
        ("sourceRefContains", "a\0"),
        ("createdBefore", "yesterday"),
        ("createdAfter", "2024-13-01T00:00:00Z"),
        ("createdAfter", "nan"),
        ("createdBefore", "inf"),
        ("createdBefore", "9" * 20),
        ("nextToken", "-_-"),
        ("nextToken", "YQ="),
        ("nextToken", token("x")),
        ("nextToken", token("-1")),
        ("nextToken", token("\N{ARABIC-INDIC DIGIT THREE}")),
        ("nextToken", token("9" * 30)),
        ("nextToken", "A" * 2052),
    ],
)
def test_a_query_outside_its_bounds_is_refused_and_names_its_member(
    raw: Raw, mixed: str, member: str, value: str
) -> None:
    answer = raw("GET", f"/projects/{mixed}/datasets/train/entries?{member}={quote(value, safe='')}")
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert member in answer.json()["Message"]


def test_botocore_leaves_a_page_size_over_100_to_the_server(lookout: Any, mixed: str) -> None:
    with assert_refused("ValidationException", "maxResults"):
        lookout.list_dataset_entries(ProjectName=mixed, DatasetType="train", MaxResults=101)
    assert len(listed(lookout, mixed, MaxResults=100)) == 4
