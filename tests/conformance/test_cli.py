"""AWS's command line, the last version that knows the service, through every operation that Vigil offers."""

import inspect
import json
import re
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from api.operation import OPERATIONS
from tests.conformance.programs import needs, run
from tests.conftest import wait_until
from tests.journey import wait_for_dataset, wait_for_model
from tests.service import Service

pytestmark = needs("awscli")


class Cli:
    """`aws lookoutvision …` for one service; remembers which operations it has been through."""

    def __init__(self, service: Service) -> None:
        self._environment = service.exports() | {"AWS_DEFAULT_OUTPUT": "json"}
        self.done: set[str] = set()

    def __call__(self, operation: str, **parameters: Any) -> Any:
        """Call an operation with parameters named as AWS names them. → its answer, checked against our shape of it"""
        done = self.run(operation, **parameters)
        assert done.returncode == 0, done.stderr
        self.done.add(operation)
        shape = inspect.signature(OPERATIONS[operation].handler, eval_str=True).return_annotation
        answer = json.loads(done.stdout or "{}")
        assert set(answer) <= set(shape.model_fields)
        return shape.model_validate(answer)

    def run(self, operation: str, **parameters: Any) -> Any:
        """The finished process of a call."""
        command = ["lookoutvision", _kebab(operation)]
        for name, value in parameters.items():
            words = value if isinstance(value, list) else [value]
            command += [f"--{_kebab(name)}", *([] if value is True else words)]
        return run("awscli", "aws", *command, environment=self._environment)


@pytest.fixture
def aws(service: Service) -> Cli:
    return Cli(service)


@pytest.mark.timeout(600)
def test_every_operation(aws: Cli, service: Service, bucket: str) -> None:
    lookout = service.client()  # waits: a start of the command line takes longer than a look at a status
    plates = {"ProjectName": "cli"}
    train = plates | {"DatasetType": "train"}
    arn = aws("CreateProject", **plates).ProjectMetadata.ProjectArn
    assert aws("DescribeProject", **plates).ProjectDescription.ProjectArn == arn
    assert arn in {project.ProjectArn for project in aws("ListProjects").Projects}

    source = {"GroundTruthManifest": {"S3Object": {"Bucket": bucket, "Key": "train.manifest"}}}
    made = aws("CreateDataset", **train, DatasetSource=json.dumps(source)).DatasetMetadata
    assert made.Status == "CREATE_IN_PROGRESS"
    wait_for_dataset(lookout, "cli")
    assert aws("DescribeDataset", **train).DatasetDescription.Status == "CREATE_COMPLETE"
    changes = service.bucket(bucket) / "more.manifest"
    assert aws("UpdateDatasetEntries", **train, Changes=f"fileb://{changes}").Status == "UPDATE_IN_PROGRESS"
    wait_for_dataset(lookout, "cli")
    stats = aws("DescribeDataset", **train).DatasetDescription.ImageStats
    assert (stats.Total, stats.Normal, stats.Anomaly) == (31, 20, 11)
    listed = aws("ListDatasetEntries", **train, AnomalyClass="anomaly", Labeled=True, PageSize="4", MaxItems="9")
    assert len(listed.DatasetEntries) == 9
    later = {"AfterCreationDate": "2020-06-23T01:02:03", "SourceRefContains": "031.png"}
    assert len(aws("ListDatasetEntries", **train, **later).DatasetEntries) == 1

    model = plates | {"ModelVersion": "1"}
    version = aws(
        "CreateModel",
        **plates,
        OutputConfig=f"S3Location={{Bucket={bucket},Prefix=evaluation/}}",
        Description="first-try",
        Tags=["Key=line,Value=3", "Key=plant,Value=Halle 2"],
    ).ModelMetadata
    assert (version.ModelVersion, version.Status) == ("1", "TRAINING")
    wait_for_model(lookout, "cli")
    described = aws("DescribeModel", **model).ModelDescription
    assert described.Status == "TRAINED", described.StatusMessage
    assert described.EvaluationResult.Key == "evaluation/EvaluationResult-cli-1.json"
    assert [item.Description for item in aws("ListModels", **plates).Models] == ["first-try"]

    tagged = {"ResourceArn": version.ModelArn}
    aws("TagResource", **tagged, Tags=["Key=shift,Value=night"])
    aws("UntagResource", **tagged, TagKeys=["line", "none"])
    tags = {tag.Key: tag.Value for tag in aws("ListTagsForResource", **tagged).Tags}
    assert tags == {"plant": "Halle 2", "shift": "night"}

    assert aws("StartModel", **model, MinInferenceUnits="1").Status == "STARTING_HOSTING"
    wait_for_model(lookout, "cli")
    assert aws("DescribeModel", **model).ModelDescription.Status == "HOSTED"
    image = service.bucket(bucket) / "plates" / "030.png"
    found = aws("DetectAnomalies", **model, Body=str(image), ContentType="image/png").DetectAnomalyResult
    assert found.IsAnomalous
    with Image.open(BytesIO(found.AnomalyMask)) as mask, Image.open(image) as sent:
        assert mask.size == sent.size
    assert aws("StopModel", **model).Status == "STOPPING_HOSTING"
    assert wait_for_model(lookout, "cli")["Status"] == "TRAINED"

    assert aws("DeleteModel", **model).ModelArn == version.ModelArn
    wait_until(lambda: not lookout.list_models(**plates)["Models"], 60, "the model to be gone")
    aws("DeleteDataset", **train)
    assert aws("DeleteProject", **plates).ProjectArn == arn
    assert aws.done == set(OPERATIONS)


def test_a_refusal_is_shown_with_its_name_and_reason(aws: Cli) -> None:
    refused = aws.run("DescribeProject", ProjectName="nothing")
    assert refused.returncode != 0
    assert "(ResourceNotFoundException) when calling the DescribeProject operation" in refused.stderr
    assert "nothing" in refused.stderr


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower()
