from typing import Any

import pytest

from storage.records import ModelStatus
from storage.stores import Stores
from tests.api import arrange
from tests.api.raw import Raw
from tests.api.refusals import assert_refused


def status(lookout: Any, project: str) -> str:
    return str(lookout.describe_model(ProjectName=project, ModelVersion="1")["ModelDescription"]["Status"])


def test_start_answers_202_and_the_model_is_starting(lookout: Any, stores: Stores, project: str) -> None:
    arrange.model(stores, project)
    answer = lookout.start_model(ProjectName=project, ModelVersion="1", MinInferenceUnits=2, MaxInferenceUnits=3)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["Status"] == "STARTING_HOSTING"
    found = lookout.describe_model(ProjectName=project, ModelVersion="1")["ModelDescription"]
    assert (found["Status"], found["MinInferenceUnits"], found["MaxInferenceUnits"]) == ("STARTING_HOSTING", 2, 3)
    assert found["Performance"]
    assert found["EvaluationResult"]


def test_max_inference_units_are_absent_where_none_were_given(lookout: Any, stores: Stores, project: str) -> None:
    arrange.model(stores, project)
    lookout.start_model(ProjectName=project, ModelVersion="latest", MinInferenceUnits=1)
    found = lookout.describe_model(ProjectName=project, ModelVersion="1")["ModelDescription"]
    assert found["MinInferenceUnits"] == 1
    assert "MaxInferenceUnits" not in found


@pytest.mark.parametrize("before", list(ModelStatus))
def test_start_needs_a_trained_model(lookout: Any, stores: Stores, project: str, before: ModelStatus) -> None:
    arrange.model(stores, project, before)
    if before in ("TRAINED", "HOSTING_FAILED"):
        lookout.start_model(ProjectName=project, ModelVersion="1", MinInferenceUnits=1)
        assert status(lookout, project) == "STARTING_HOSTING"
    else:
        with assert_refused("ConflictException", before) as error:
            lookout.start_model(ProjectName=project, ModelVersion="1", MinInferenceUnits=1)
        assert (error["ResourceId"], error["ResourceType"]) == (f"{project}/1", "MODEL")
        assert status(lookout, project) == before


@pytest.mark.parametrize("before", list(ModelStatus))
def test_stop_needs_a_model_that_is_hosted_or_starts(
    lookout: Any, stores: Stores, project: str, before: ModelStatus
) -> None:
    arrange.model(stores, project, before)
    if before in ("HOSTED", "STARTING_HOSTING", "HOSTING_FAILED"):
        answer = lookout.stop_model(ProjectName=project, ModelVersion="1")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
        assert answer["Status"] == "STOPPING_HOSTING"
        assert status(lookout, project) in ("STOPPING_HOSTING", "TRAINED")
    else:
        with assert_refused("ConflictException", before):
            lookout.stop_model(ProjectName=project, ModelVersion="1")
        assert status(lookout, project) == before


def test_a_starting_model_that_is_stopped_becomes_trained_again(lookout: Any, stores: Stores, project: str) -> None:
    arrange.model(stores, project)
    lookout.start_model(ProjectName=project, ModelVersion="1", MinInferenceUnits=2)
    lookout.stop_model(ProjectName=project, ModelVersion="1")
    stores.hosting.clear()
    found = lookout.describe_model(ProjectName=project, ModelVersion="1")["ModelDescription"]
    assert found["Status"] == "TRAINED"
    assert not {"MinInferenceUnits", "MaxInferenceUnits"} & set(found)


def test_fewer_units_at_most_than_at_least_are_refused(lookout: Any, stores: Stores, project: str) -> None:
    arrange.model(stores, project)
    with assert_refused("ValidationException", "MaxInferenceUnits is 1, less than MinInferenceUnits, which is 2"):
        lookout.start_model(ProjectName=project, ModelVersion="1", MinInferenceUnits=2, MaxInferenceUnits=1)
    assert status(lookout, project) == "TRAINED"


@pytest.mark.parametrize("units", [{"MinInferenceUnits": 6}, {"MinInferenceUnits": 1, "MaxInferenceUnits": 6}])
def test_more_units_than_the_quota_are_refused(
    lookout: Any, stores: Stores, project: str, units: dict[str, int]
) -> None:
    arrange.model(stores, project)
    with assert_refused("ServiceQuotaExceededException", "a model may have 5") as error:
        lookout.start_model(ProjectName=project, ModelVersion="1", **units)
    assert (error["QuotaCode"], error["ServiceCode"]) == ("max-inference-units", "lookoutvision")
    assert status(lookout, project) == "TRAINED"


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"MinInferenceUnits": None},
        {"MinInferenceUnits": 0},
        {"MinInferenceUnits": -1},
        {"MinInferenceUnits": True},
        {"MinInferenceUnits": 1.0},
        {"MinInferenceUnits": 1.5},
        {"MinInferenceUnits": "1"},
        {"MinInferenceUnits": [1]},
        {"MinInferenceUnits": 1, "MaxInferenceUnits": True},
        {"MinInferenceUnits": 1, "MaxInferenceUnits": 0},
    ],
)
def test_units_that_are_no_positive_integer_are_refused(
    raw: Raw, stores: Stores, project: str, content: dict[str, Any]
) -> None:
    arrange.model(stores, project)
    answer = raw.json("POST", f"/projects/{project}/models/1/start", content)
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert "InferenceUnits" in answer.json()["Message"]
    assert stores.catalogue.model(project, 1).status == "TRAINED"
