"""Identical calls at the same moment."""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from botocore.exceptions import ClientError

from storage.records import ModelStatus
from storage.stores import Stores
from tests.api import arrange

CALLERS = 12
OUT = {"S3Location": {"Bucket": "out"}}

Call = Callable[[Any, str, dict[str, str]], Any]
CALLS: dict[str, Call] = {
    "create_project": lambda c, p, more: c.create_project(ProjectName=f"{p}-x", **more),
    "create_dataset": lambda c, p, more: c.create_dataset(ProjectName=p, DatasetType="test", **more),
    "delete_dataset": lambda c, p, more: c.delete_dataset(ProjectName=p, DatasetType="train", **more),
    "delete_model": lambda c, p, more: c.delete_model(ProjectName=p, ModelVersion="1", **more),
    "start_model": lambda c, p, more: c.start_model(ProjectName=p, ModelVersion="1", MinInferenceUnits=1, **more),
    "stop_model": lambda c, p, more: c.stop_model(ProjectName=p, ModelVersion="2", **more),
    "create_model": lambda c, p, more: c.create_model(ProjectName=p, OutputConfig=OUT, **more),
}


@pytest.fixture
def plant(stores: Stores, project: str) -> str:
    """A project on which each call succeeds once: version 1 is trained, version 2 hosted."""
    arrange.trainable(stores, project)
    arrange.model(stores, project)
    arrange.model(stores, project, ModelStatus.HOSTED)
    return project


def together(call: Callable[[], Any]) -> list[Any]:
    """What each of the callers got: an answer without its headers, or the name of an exception."""
    gate = Barrier(CALLERS)

    def one(_: int) -> Any:
        gate.wait()
        try:
            return {name: value for name, value in call().items() if name != "ResponseMetadata"}
        except ClientError as error:
            return error.response["Error"]["Code"]

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(one, range(CALLERS)))


@pytest.mark.parametrize("name", CALLS)
def test_with_one_token_all_get_the_same_answer(lookout: Any, stores: Stores, plant: str, name: str) -> None:
    token = {"ClientToken": f"t-{plant}"}
    answers = together(lambda: CALLS[name](lookout, plant, token))
    assert answers == [answers[0]] * CALLERS
    assert isinstance(answers[0], dict)
    assert len(stores.catalogue.models(plant)) == (3 if name == "create_model" else 2)


@pytest.mark.parametrize(
    ("name", "loser"),
    [
        ("create_project", "ConflictException"),
        ("create_dataset", "ConflictException"),
        ("start_model", "ConflictException"),
        ("stop_model", "ConflictException"),
        ("delete_model", "ConflictException"),
        ("delete_dataset", "ResourceNotFoundException"),
    ],
)
def test_without_a_common_token_exactly_one_wins(lookout: Any, plant: str, name: str, loser: str) -> None:
    answers = together(lambda: CALLS[name](lookout, plant, {}))
    assert Counter(a if isinstance(a, str) else "won" for a in answers) == {"won": 1, loser: CALLERS - 1}


def test_trainings_started_at_once_get_different_versions(lookout: Any, plant: str) -> None:
    answers = together(lambda: CALLS["create_model"](lookout, plant, {}))
    versions = sorted(int(answer["ModelMetadata"]["ModelVersion"]) for answer in answers)
    assert versions == list(range(3, 3 + CALLERS))


def test_the_quota_of_trainings_holds_against_calls_at_once(fresh: Any) -> None:
    service = fresh(max_concurrent_trainings=2)
    service.lookout.create_project(ProjectName="p")
    arrange.trainable(service.stores, "p")
    answers = together(lambda: service.lookout.create_model(ProjectName="p", OutputConfig=OUT))
    kinds = Counter(a if isinstance(a, str) else "won" for a in answers)
    assert kinds == {"won": 2, "ServiceQuotaExceededException": CALLERS - 2}
