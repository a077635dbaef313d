from datetime import UTC, datetime
from typing import Any

import pytest

from storage.jobs import DELETE, TRAIN
from storage.manifest import parse_manifest
from storage.objects import OWN_BUCKET
from storage.records import DatasetStatus, ModelStatus
from storage.stores import Stores
from tests.api import arrange
from tests.api.raw import Raw
from tests.api.refusals import assert_refused

OUT = {"S3Location": {"Bucket": "out", "Prefix": "results/"}}


@pytest.fixture
def ready(stores: Stores, project: str) -> str:
    """A project that can be trained."""
    arrange.trainable(stores, project)
    return project


def test_create_model_answers_202_and_the_model_trains(lookout: Any, stores: Stores, ready: str) -> None:
    before = datetime.now(UTC)
    stores.data_keys.create("a")
    answer = lookout.create_model(
        ProjectName=ready, OutputConfig=OUT, Description="line-3", KmsKeyId="alias/a", Tags=[]
    )
    metadata = answer["ModelMetadata"]
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert metadata["ModelArn"] == f"arn:aws:lookoutvision:us-east-1:000000000000:model/{ready}/1"
    assert (metadata["ModelVersion"], metadata["Status"]) == ("1", "TRAINING")
    assert metadata["StatusMessage"] == "The model is being trained."
    assert metadata["Description"] == "line-3"
    assert abs((metadata["CreationTimestamp"] - before).total_seconds()) < 60
    found = lookout.describe_model(ProjectName=ready, ModelVersion="1")["ModelDescription"]
    assert (found["Status"], found["OutputConfig"], found["KmsKeyId"]) == ("TRAINING", OUT, "alias/a")
    assert not {"Performance", "EvaluationResult", "MinInferenceUnits", "MaxInferenceUnits"} & set(found)


def test_a_training_gets_the_entries_as_they_are_now(lookout: Any, stores: Stores, ready: str) -> None:
    lookout.create_dataset(ProjectName=ready, DatasetType="test")
    arrange.fill(stores, ready, arrange.images(10, 10, 1), "test")
    lookout.create_model(ProjectName=ready, OutputConfig=OUT)
    lookout.delete_dataset(ProjectName=ready, DatasetType="train")
    [payload] = arrange.jobs(stores, TRAIN, project=ready)
    train, test = (stores.objects.get(OWN_BUCKET, payload[type_]) for type_ in ("train", "test"))
    assert [entry.source_ref for entry in parse_manifest(train)] == [e.source_ref for e in arrange.images(20, 10)]
    assert len(parse_manifest(test)) == 21


def test_a_trained_model_has_everything_that_clients_read(lookout: Any, stores: Stores, project: str) -> None:
    version = str(arrange.model(stores, project))
    found = lookout.describe_model(ProjectName=project, ModelVersion=version)["ModelDescription"]
    assert found["Performance"] == {"F1Score": 0.9, "Precision": 0.8, "Recall": 1.0}
    assert found["EvaluationEndTimestamp"] == datetime(2024, 5, 6, 7, 8, 9, 123000, tzinfo=UTC)
    assert found["EvaluationResult"] == {"Bucket": "out", "Key": f"EvaluationResult-{project}-{version}.json"}
    assert found["EvaluationManifest"] == {"Bucket": "out", "Key": f"EvaluationManifest-{project}-{version}.json"}
    assert found["StatusMessage"] == "arranged"
    [listed] = lookout.list_models(ProjectName=project)["Models"]
    assert listed["Performance"] == found["Performance"]
    assert not {"OutputConfig", "KmsKeyId", "MinInferenceUnits", "Description"} & set(listed)


def test_the_output_location_always_has_a_prefix(lookout: Any, ready: str) -> None:
    for number, location in enumerate(({"Bucket": "out"}, {"Bucket": "out", "Prefix": ""}), 1):
        lookout.create_model(ProjectName=ready, OutputConfig={"S3Location": location})
        found = lookout.describe_model(ProjectName=ready, ModelVersion=str(number))["ModelDescription"]
        assert found["OutputConfig"]["S3Location"] == {"Bucket": "out", "Prefix": ""}


def test_timestamps_are_seconds_with_milliseconds(raw: Raw, stores: Stores, project: str) -> None:
    arrange.model(stores, project)
    found = raw("GET", f"/projects/{project}/models/1").json()["ModelDescription"]
    assert found["CreationTimestamp"] == 1714978800.25
    assert found["EvaluationEndTimestamp"] == 1714979289.123


def test_models_are_listed_newest_first(lookout: Any, stores: Stores, project: str) -> None:
    for _ in range(11):
        arrange.model(stores, project)
    found = lookout.list_models(ProjectName=project)["Models"]
    assert [model["ModelVersion"] for model in found] == [str(n) for n in range(11, 0, -1)]


def test_a_version_number_is_never_given_twice(lookout: Any, stores: Stores, ready: str) -> None:
    assert lookout.create_model(ProjectName=ready, OutputConfig=OUT)["ModelMetadata"]["ModelVersion"] == "1"
    model = stores.catalogue.model(ready, 1)
    stores.catalogue.move_model(model, ModelStatus.TRAINING_FAILED, "no")
    lookout.delete_model(ProjectName=ready, ModelVersion="1")
    stores.catalogue.delete_model(model)
    assert lookout.list_models(ProjectName=ready)["Models"] == []
    assert lookout.create_model(ProjectName=ready, OutputConfig=OUT)["ModelMetadata"]["ModelVersion"] == "2"


def test_latest_is_the_newest_version(lookout: Any, stores: Stores, project: str) -> None:
    with assert_refused("ResourceNotFoundException") as error:
        lookout.describe_model(ProjectName=project, ModelVersion="latest")
    assert (error["ResourceId"], error["ResourceType"]) == (f"{project}/latest", "MODEL")
    arrange.model(stores, project)
    arrange.model(stores, project, ModelStatus.TRAINING)
    found = lookout.describe_model(ProjectName=project, ModelVersion="latest")["ModelDescription"]
    assert found["ModelVersion"] == "2"


def test_latest_cannot_be_deleted(lookout: Any, stores: Stores, project: str) -> None:
    arrange.model(stores, project)
    with assert_refused("ValidationException", "modelVersion must be a version number"):
        lookout.delete_model(ProjectName=project, ModelVersion="latest")
    assert lookout.list_models(ProjectName=project)["Models"]


@pytest.mark.parametrize("version", ["0", "01", "-1", "1.0", "Latest", "latest ", "1e3", "٣", "12345678901", "a"])
def test_what_is_no_version_is_refused(lookout: Any, project: str, version: str) -> None:
    calls = [lookout.describe_model, lookout.stop_model, lookout.delete_model]
    for call in calls:
        with assert_refused("ValidationException", "modelVersion must be a version number"):
            call(ProjectName=project, ModelVersion=version)


def test_a_version_that_is_not_there_is_named(lookout: Any, project: str) -> None:
    with assert_refused("ResourceNotFoundException", "version 9999999999") as error:
        lookout.describe_model(ProjectName=project, ModelVersion="9999999999")
    assert (error["ResourceId"], error["ResourceType"]) == (f"{project}/9999999999", "MODEL")


@pytest.mark.parametrize("status", list(ModelStatus))
def test_a_model_is_deleted_only_at_rest(lookout: Any, stores: Stores, project: str, status: ModelStatus) -> None:
    version = arrange.model(stores, project, status)
    if status in ("TRAINED", "TRAINING_FAILED", "HOSTING_FAILED"):
        answer = lookout.delete_model(ProjectName=project, ModelVersion=str(version))
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
        assert answer["ModelArn"].endswith(f":model/{project}/{version}")
        assert stores.catalogue.model(project, version).status == "DELETING"
        assert arrange.jobs(stores, DELETE, project=project) == [{"project": project, "version": version}]
    else:
        with assert_refused("ConflictException", status) as error:
            lookout.delete_model(ProjectName=project, ModelVersion=str(version))
        assert (error["ResourceId"], error["ResourceType"]) == (f"{project}/{version}", "MODEL")
        assert stores.catalogue.model(project, version).status == status


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"Description": "two words"}, "Description must be 1 to 500"),
        ({"Description": "ü"}, "Description must be"),
        ({"Description": "d" * 501}, "Description must be"),
        ({"KmsKeyId": "_a"}, "KmsKeyId must be"),
        ({"KmsKeyId": "a b"}, "KmsKeyId must be"),
        ({"KmsKeyId": "k" * 2049}, "KmsKeyId must be"),
        ({"KmsKeyId": "lost"}, r"no data key 'lost': the file .*/kms-keys/lost\.key does not exist.*`vigil kms create"),
        ({"KmsKeyId": "arn:aws:kms:eu-central-1:1:key/../secret"}, r"kms-keys/\.\.%2Fsecret\.key does not exist"),
        ({"KmsKeyId": "arn:aws:s3:::bucket/a"}, "not of the form NAME, alias/NAME"),
        ({"KmsKeyId": "k" * 2048}, "too long"),
        ({"OutputConfig": {"S3Location": {"Bucket": "a b"}}}, r"OutputConfig\.S3Location\.Bucket must be"),
        ({"OutputConfig": {"S3Location": {"Bucket": "b" * 64}}}, r"Bucket must be"),
        ({"OutputConfig": {"S3Location": {"Bucket": "out", "Prefix": "/p"}}}, r"Prefix must be"),
        ({"OutputConfig": {"S3Location": {"Bucket": "out", "Prefix": "a b"}}}, r"Prefix must be"),
        ({"OutputConfig": {"S3Location": {"Bucket": "out", "Prefix": "a=b"}}}, r"Prefix must be"),
        ({"OutputConfig": {"S3Location": {"Bucket": "out", "Prefix": "p" * 1025}}}, r"Prefix must be"),
        ({"ClientToken": "a b"}, "X-Amzn-Client-Token must be"),
        ({"ClientToken": "t" * 65}, "X-Amzn-Client-Token must be"),
    ],
)
def test_members_outside_their_alphabets_are_refused(
    lookout: Any, ready: str, members: dict[str, Any], message: str
) -> None:
    with assert_refused("ValidationException", message):
        lookout.create_model(**{"ProjectName": ready, "OutputConfig": OUT} | members)
    assert lookout.list_models(ProjectName=ready)["Models"] == []


@pytest.mark.parametrize(
    "location",
    [{"Bucket": "..."}, {"Bucket": "_out"}, {"Bucket": "out", "Prefix": "../"}, {"Bucket": "out", "Prefix": "a//"}],
)
def test_an_output_that_cannot_be_stored_is_refused_before_the_training(
    lookout: Any, ready: str, location: dict[str, str]
) -> None:
    with assert_refused("ValidationException", "cannot be"):
        lookout.create_model(ProjectName=ready, OutputConfig={"S3Location": location})
    assert lookout.list_models(ProjectName=ready)["Models"] == []


def test_a_training_needs_a_training_data_set(lookout: Any, project: str) -> None:
    lookout.create_dataset(ProjectName=project, DatasetType="test")
    with assert_refused("ConflictException", "no train data set") as error:
        lookout.create_model(ProjectName=project, OutputConfig=OUT)
    assert error["ResourceType"] == "DATASET"


@pytest.mark.parametrize("status", list(DatasetStatus))
def test_a_training_needs_data_sets_at_rest(lookout: Any, stores: Stores, ready: str, status: DatasetStatus) -> None:
    stores.catalogue.create_dataset(ready, "test", status, "arranged")
    arrange.fill(stores, ready, arrange.images(10, 10), "test")
    if status in ("CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_FAILED_ROLLBACK_COMPLETE"):
        assert lookout.create_model(ProjectName=ready, OutputConfig=OUT)["ModelMetadata"]["Status"] == "TRAINING"
    else:
        with assert_refused("ConflictException", f"{status}: arranged") as error:
            lookout.create_model(ProjectName=ready, OutputConfig=OUT)
        assert (error["ResourceId"], error["ResourceType"]) == (f"{ready}/test", "DATASET")


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ((19, 10), None, "19 normal and 10 anomalous .* at least 20 normal and 10"),
        ((20, 9), None, "20 normal and 9 anomalous"),
        ((0, 0), None, "0 normal and 0 anomalous"),
        ((9, 0), (10, 10), "the train data set .* 9 normal"),
        ((10, 0), (9, 10), "the test data set .* 9 normal"),
        ((10, 0), (10, 9), "the test data set .* 9 anomalous"),
        ((20, 10), None, None),
        ((10, 0), (10, 10), None),
    ],
)
def test_a_training_needs_enough_images(
    lookout: Any, stores: Stores, project: str, train: Any, test: Any, message: str | None
) -> None:
    for type_, counts in (("train", train), ("test", test)):
        if counts:
            lookout.create_dataset(ProjectName=project, DatasetType=type_)
            arrange.fill(stores, project, arrange.images(*counts, 30), type_)
    if message is None:
        lookout.create_model(ProjectName=project, OutputConfig=OUT)
    else:
        with assert_refused("ValidationException", message):
            lookout.create_model(ProjectName=project, OutputConfig=OUT)
        assert lookout.list_models(ProjectName=project)["Models"] == []


def test_a_third_training_exceeds_the_quota(fresh: Any) -> None:
    service = fresh()
    for name in ("a", "b"):
        service.lookout.create_project(ProjectName=name)
        arrange.trainable(service.stores, name)
        service.lookout.create_model(ProjectName=name, OutputConfig=OUT)
    with assert_refused("ServiceQuotaExceededException", "2 may be at once") as error:
        service.lookout.create_model(ProjectName="a", OutputConfig=OUT)
    assert (error["QuotaCode"], error["ServiceCode"]) == ("max-concurrent-trainings", "lookoutvision")
    assert error["ResourceType"] == "MODEL"
    model = service.stores.catalogue.model("b", 1)
    service.stores.catalogue.move_model(model, ModelStatus.TRAINING_FAILED, "no")
    created = service.lookout.create_model(ProjectName="a", OutputConfig=OUT)["ModelMetadata"]
    assert created["ModelVersion"] == "2", "a refused call uses up no version number"


def test_a_third_training_waits_where_the_setting_says_so(fresh: Any) -> None:
    service = fresh(max_concurrent_trainings=1, queue_trainings=True)
    service.lookout.create_project(ProjectName="a")
    arrange.trainable(service.stores, "a")
    for number in ("1", "2", "3"):
        metadata = service.lookout.create_model(ProjectName="a", OutputConfig=OUT)["ModelMetadata"]
        assert (metadata["ModelVersion"], metadata["Status"]) == (number, "TRAINING")
