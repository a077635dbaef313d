from typing import Any

import pytest

from storage.jobs import IMPORT
from storage.records import DatasetStatus
from storage.stores import Stores
from tests.api import arrange
from tests.api.raw import Raw
from tests.api.refusals import assert_refused

SOURCE = {"GroundTruthManifest": {"S3Object": {"Bucket": "plant", "Key": "a/b.manifest"}}}


@pytest.mark.parametrize("type_", ["train", "test"])
def test_an_empty_data_set_is_complete_at_once(lookout: Any, project: str, type_: str) -> None:
    answer = lookout.create_dataset(ProjectName=project, DatasetType=type_)
    metadata = answer["DatasetMetadata"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert (metadata["DatasetType"], metadata["Status"]) == (type_, "CREATE_COMPLETE")
    assert metadata["StatusMessage"] == "The dataset was created successfully."
    found = lookout.describe_dataset(ProjectName=project, DatasetType=type_)["DatasetDescription"]
    assert found["ProjectName"] == project
    assert found["CreationTimestamp"] == metadata["CreationTimestamp"]
    assert found["LastUpdatedTimestamp"] >= found["CreationTimestamp"]
    assert found["ImageStats"] == {"Total": 0, "Labeled": 0, "Normal": 0, "Anomaly": 0}
    assert found["StatusMessage"]


def test_a_data_set_from_a_manifest_is_imported_by_a_job(lookout: Any, stores: Stores, project: str) -> None:
    answer = lookout.create_dataset(ProjectName=project, DatasetType="train", DatasetSource=SOURCE)
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert answer["DatasetMetadata"]["Status"] == "CREATE_IN_PROGRESS"
    assert answer["DatasetMetadata"]["StatusMessage"]
    dataset = stores.catalogue.dataset(project, "train")
    [payload] = arrange.jobs(stores, IMPORT, dataset=dataset.id)
    assert payload["source"] == {"bucket": "plant", "key": "a/b.manifest", "version": None}


def test_image_stats_count_each_kind(lookout: Any, stores: Stores, project: str) -> None:
    lookout.create_dataset(ProjectName=project, DatasetType="test")
    arrange.fill(stores, project, arrange.images(normal=5, anomaly=3, unlabeled=2), "test")
    found = lookout.describe_dataset(ProjectName=project, DatasetType="test")["DatasetDescription"]
    assert found["ImageStats"] == {"Total": 10, "Labeled": 8, "Normal": 5, "Anomaly": 3}


def test_deleting_is_effective_at_once_and_the_type_can_be_made_again(
    lookout: Any, stores: Stores, project: str
) -> None:
    lookout.create_dataset(ProjectName=project, DatasetType="train")
    arrange.fill(stores, project, arrange.images(3, 0))
    answer = lookout.delete_dataset(ProjectName=project, DatasetType="train")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    with assert_refused("ResourceNotFoundException") as error:
        lookout.describe_dataset(ProjectName=project, DatasetType="train")
    assert (error["ResourceId"], error["ResourceType"]) == (f"{project}/train", "DATASET")
    lookout.create_dataset(ProjectName=project, DatasetType="train")
    assert lookout.list_dataset_entries(ProjectName=project, DatasetType="train")["DatasetEntries"] == []


@pytest.mark.parametrize("status", list(DatasetStatus))
def test_a_data_set_is_deleted_in_whatever_status_it_is(
    lookout: Any, stores: Stores, project: str, status: DatasetStatus
) -> None:
    stores.catalogue.create_dataset(project, "train", status, "arranged")
    lookout.delete_dataset(ProjectName=project, DatasetType="train")
    assert lookout.describe_project(ProjectName=project)["ProjectDescription"]["Datasets"] == []


def test_a_second_data_set_of_a_type_is_a_conflict(lookout: Any, project: str) -> None:
    lookout.create_dataset(ProjectName=project, DatasetType="train")
    with assert_refused("ConflictException", "already has a train data set") as error:
        lookout.create_dataset(ProjectName=project, DatasetType="train", DatasetSource=SOURCE)
    assert (error["ResourceId"], error["ResourceType"]) == (f"{project}/train", "DATASET")
    lookout.create_dataset(ProjectName=project, DatasetType="test")


@pytest.mark.parametrize("type_", ["Train", "validation", "trai", "train ", "traintest00"])
def test_another_type_is_refused_in_the_body_and_in_the_path(lookout: Any, project: str, type_: str) -> None:
    with assert_refused("ValidationException", "DatasetType must be train or test"):
        lookout.create_dataset(ProjectName=project, DatasetType=type_)
    for call in (lookout.describe_dataset, lookout.delete_dataset, lookout.list_dataset_entries):
        with assert_refused("ValidationException", "datasetType must be train or test"):
            call(ProjectName=project, DatasetType=type_)


@pytest.mark.parametrize(
    ("place", "member"),
    [
        ({"Bucket": "a b", "Key": "k"}, "Bucket"),
        ({"Bucket": "ü" * 3, "Key": "k"}, "Bucket"),
        ({"Bucket": "x" * 64, "Key": "k"}, "Bucket"),
        ({"Bucket": "plant", "Key": "/k"}, "Key"),
        ({"Bucket": "plant", "Key": "a b"}, "Key"),
        ({"Bucket": "plant", "Key": "a+b"}, "Key"),
        ({"Bucket": "plant", "Key": "k" * 1025}, "Key"),
        ({"Bucket": "plant", "Key": "k", "VersionId": "v" * 1025}, "VersionId"),
    ],
)
def test_a_place_outside_aws_alphabets_is_refused(lookout: Any, project: str, place: Any, member: str) -> None:
    with assert_refused("ValidationException", rf"S3Object\.{member} must be"):
        lookout.create_dataset(
            ProjectName=project, DatasetType="train", DatasetSource={"GroundTruthManifest": {"S3Object": place}}
        )
    assert lookout.describe_project(ProjectName=project)["ProjectDescription"]["Datasets"] == []


def test_every_character_of_aws_key_alphabet_is_accepted(lookout: Any, project: str) -> None:
    place = {"Bucket": "Pla.nt_-9", "Key": "aZ0!_.*'()-/x//y", "VersionId": "ü 1"}
    source = {"GroundTruthManifest": {"S3Object": place}}
    answer = lookout.create_dataset(ProjectName=project, DatasetType="train", DatasetSource=source)
    assert answer["DatasetMetadata"]["Status"] == "CREATE_IN_PROGRESS"


@pytest.mark.parametrize("source", [{}, {"GroundTruthManifest": {}}])
def test_a_source_without_a_place_is_refused(lookout: Any, project: str, source: Any) -> None:
    with assert_refused("ValidationException", "S3Object is required"):
        lookout.create_dataset(ProjectName=project, DatasetType="train", DatasetSource=source)


def test_a_null_source_is_no_source(raw: Raw, project: str) -> None:
    answer = raw.json("POST", f"/projects/{project}/datasets", {"DatasetType": "train", "DatasetSource": None})
    assert answer.status == 202
    assert answer.json()["DatasetMetadata"]["Status"] == "CREATE_COMPLETE"


@pytest.mark.parametrize("version", ["\ud800", "a\udfffb", "a\0b"])
def test_text_that_no_database_keeps_is_refused(raw: Raw, project: str, version: str) -> None:
    place = {"Bucket": "plant", "Key": "k", "VersionId": version}
    content = {"DatasetType": "train", "DatasetSource": {"GroundTruthManifest": {"S3Object": place}}}
    answer = raw.json("POST", f"/projects/{project}/datasets", content)
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert "VersionId" in answer.json()["Message"]
