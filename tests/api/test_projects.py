from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.stores import Stores
from tests.api import arrange
from tests.api.raw import Raw
from tests.api.refusals import assert_refused

ALPHABET = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
FEW = settings(max_examples=20)


def test_create_project_answers_200_with_its_metadata(lookout: Any) -> None:
    before = datetime.now(UTC)
    answer = lookout.create_project(ProjectName="circuit-board_7")
    metadata = answer["ProjectMetadata"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert metadata["ProjectArn"] == "arn:aws:lookoutvision:us-east-1:000000000000:project/circuit-board_7"
    assert metadata["ProjectName"] == "circuit-board_7"
    assert abs((metadata["CreationTimestamp"] - before).total_seconds()) < 60


def test_arns_name_the_region_and_account_of_the_settings(fresh: Any) -> None:
    lookout = fresh(region="eu-central-1", account="123456789012").lookout
    arn = lookout.create_project(ProjectName="p")["ProjectMetadata"]["ProjectArn"]
    assert arn == "arn:aws:lookoutvision:eu-central-1:123456789012:project/p"


def test_describe_project_always_has_datasets(lookout: Any, project: str) -> None:
    answer = lookout.describe_project(ProjectName=project)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["ProjectDescription"]["Datasets"] == []
    for type_ in ("test", "train"):
        lookout.create_dataset(ProjectName=project, DatasetType=type_)
    found = lookout.describe_project(ProjectName=project)["ProjectDescription"]["Datasets"]
    assert [dataset["DatasetType"] for dataset in found] == ["train", "test"]
    assert all(dataset["StatusMessage"] and dataset["CreationTimestamp"] for dataset in found)


def test_delete_project_answers_200_with_the_arn_and_the_name_is_free_again(lookout: Any, project: str) -> None:
    answer = lookout.delete_project(ProjectName=project)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200
    assert answer["ProjectArn"].endswith(f":project/{project}")
    with assert_refused("ResourceNotFoundException") as error:
        lookout.describe_project(ProjectName=project)
    assert (error["ResourceId"], error["ResourceType"]) == (project, "PROJECT")
    lookout.create_project(ProjectName=project)


def test_a_taken_name_is_a_conflict(lookout: Any, project: str) -> None:
    with assert_refused("ConflictException", project) as error:
        lookout.create_project(ProjectName=project)
    assert (error["ResourceId"], error["ResourceType"]) == (project, "PROJECT")


def test_names_differ_by_case(lookout: Any, project: str) -> None:
    lookout.create_project(ProjectName=project.upper())
    assert lookout.describe_project(ProjectName=project)["ProjectDescription"]["ProjectName"] == project


def test_a_project_with_a_data_set_is_not_deleted(lookout: Any, project: str) -> None:
    lookout.create_dataset(ProjectName=project, DatasetType="train")
    with assert_refused("ConflictException", "delete them first"):
        lookout.delete_project(ProjectName=project)
    lookout.delete_dataset(ProjectName=project, DatasetType="train")
    lookout.delete_project(ProjectName=project)


def test_a_project_with_a_model_is_not_deleted(lookout: Any, stores: Stores, project: str) -> None:
    arrange.model(stores, project)
    with assert_refused("ConflictException") as error:
        lookout.delete_project(ProjectName=project)
    assert (error["ResourceId"], error["ResourceType"]) == (project, "PROJECT")
    assert lookout.list_models(ProjectName=project)["Models"]


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.describe_project(ProjectName="nobody"),
        lambda c: c.delete_project(ProjectName="nobody"),
        lambda c: c.list_models(ProjectName="nobody"),
        lambda c: c.create_dataset(ProjectName="nobody", DatasetType="train"),
        lambda c: c.describe_dataset(ProjectName="nobody", DatasetType="train"),
        lambda c: c.delete_dataset(ProjectName="nobody", DatasetType="train"),
        lambda c: c.list_dataset_entries(ProjectName="nobody", DatasetType="train"),
        lambda c: c.update_dataset_entries(ProjectName="nobody", DatasetType="train", Changes=b"{}"),
        lambda c: c.create_model(ProjectName="nobody", OutputConfig={"S3Location": {"Bucket": "out"}}),
        lambda c: c.describe_model(ProjectName="nobody", ModelVersion="1"),
        lambda c: c.delete_model(ProjectName="nobody", ModelVersion="1"),
        lambda c: c.start_model(ProjectName="nobody", ModelVersion="1", MinInferenceUnits=1),
        lambda c: c.stop_model(ProjectName="nobody", ModelVersion="1"),
    ],
)
def test_every_operation_says_which_project_is_missing(lookout: Any, call: Any) -> None:
    with assert_refused("ResourceNotFoundException", "nobody") as error:
        call(lookout)
    assert (error["ResourceId"], error["ResourceType"]) == ("nobody", "PROJECT")


@FEW
@given(st.text(ALPHABET, min_size=1, max_size=255).filter(lambda name: name[0] not in "_-"))
def test_every_legal_name_is_accepted_and_comes_back(lookout: Any, name: str) -> None:
    assert lookout.create_project(ProjectName=name)["ProjectMetadata"]["ProjectName"] == name
    assert lookout.describe_project(ProjectName=name)["ProjectDescription"]["ProjectName"] == name
    lookout.delete_project(ProjectName=name)


@pytest.mark.parametrize("character", [chr(code) for code in range(128) if chr(code) not in ALPHABET] + list("äß中😀"))
def test_every_other_character_in_a_name_is_refused(lookout: Any, raw: Raw, character: str) -> None:
    with assert_refused("ValidationException", "ProjectName must be 1 to 255 letters"):
        lookout.create_project(ProjectName=f"a{character}b")
    quoted = "".join(f"%{byte:02X}" for byte in character.encode())
    answer = raw("GET", f"/projects/a{quoted}b")
    assert (answer.status, answer.error) == (400, "ValidationException")


@FEW
@given(st.text(min_size=1, max_size=20).filter(lambda text: not set(text) <= set(ALPHABET)))
def test_any_text_outside_the_alphabet_is_refused(raw: Raw, name: str) -> None:
    answer = raw.json("POST", "/projects", {"ProjectName": name})
    assert (answer.status, answer.error) == (400, "ValidationException")


@pytest.mark.parametrize("name", ["-a", "_a", "a" * 256, "a\n", "ok\x00"])
def test_a_bad_start_a_length_over_255_and_a_trailing_newline_are_refused(lookout: Any, name: str) -> None:
    with assert_refused("ValidationException"):
        lookout.create_project(ProjectName=name)


def test_a_name_in_the_path_is_checked_as_one_in_the_body(raw: Raw) -> None:
    for name in ("a" * 256, "-a", "a%0A", "%2Fetc", "a%2Fb", "..%2F..", "%00", "%FF"):
        answer = raw("GET", f"/projects/{name}")
        assert (answer.status, answer.error) == (400, "ValidationException"), name
        assert "projectName must be" in answer.json()["Message"]
