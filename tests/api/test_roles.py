"""What the role of an access key lets its holder do: every operation is tried with every role."""

from typing import Any

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from api.operation import OPERATIONS
from storage.records import Role
from storage.stores import Stores
from tests.conftest import client

LOOKING = {name for name in OPERATIONS if name.startswith(("Describe", "List"))} | {"DetectAnomalies"}
HOSTING = {"StartModel", "StopModel"}
ALLOWED = {Role.INSPECTOR: LOOKING, Role.OPERATOR: LOOKING | HOSTING, Role.ADMIN: set(OPERATIONS)}
ARN = "arn:aws:lookoutvision:us-east-1:000000000000:model/p/1"
PROJECT: dict[str, Any] = {"ProjectName": "p"}
MODEL = PROJECT | {"ModelVersion": "1"}
DATASET = PROJECT | {"DatasetType": "train"}
CALLS: dict[str, dict[str, Any]] = {
    "CreateProject": PROJECT,
    "DescribeProject": PROJECT,
    "ListProjects": {},
    "DeleteProject": PROJECT,
    "CreateDataset": DATASET,
    "DescribeDataset": DATASET,
    "DeleteDataset": DATASET,
    "ListDatasetEntries": DATASET,
    "UpdateDatasetEntries": DATASET | {"Changes": b"{}"},
    "CreateModel": PROJECT | {"OutputConfig": {"S3Location": {"Bucket": "plant"}}},
    "DescribeModel": MODEL,
    "ListModels": PROJECT,
    "DeleteModel": MODEL,
    "StartModel": MODEL | {"MinInferenceUnits": 1},
    "StopModel": MODEL,
    "DetectAnomalies": MODEL | {"Body": b"\xff\xd8\xff", "ContentType": "image/jpeg"},
    "TagResource": {"ResourceArn": ARN, "Tags": []},
    "UntagResource": {"ResourceArn": ARN, "TagKeys": ["a"]},
    "ListTagsForResource": {"ResourceArn": ARN},
}


def test_every_operation_is_tried() -> None:
    assert set(CALLS) == set(OPERATIONS)


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_do_its_own_and_nothing_else(
    endpoint: str, stores: Stores, role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    key = stores.keys.create(role)
    lookout = client(endpoint, key)
    refused = set()
    for name, parameters in CALLS.items():
        try:
            getattr(lookout, xform_name(name))(**parameters)
        except ClientError as error:
            if error.response["Error"]["Code"] == "AccessDeniedException":
                refused.add((name, f"has the role {role}" in error.response["Error"]["Message"]))
    assert refused == {(name, True) for name in set(OPERATIONS) - ALLOWED[role]}
    assert all(f"{name} is refused to access key {key.id}" in caplog.text for name, _ in refused)


def test_a_revoked_key_is_not_known_any_more(endpoint: str, stores: Stores) -> None:
    key = stores.keys.create(Role.INSPECTOR)
    lookout = client(endpoint, key)
    assert "Projects" in lookout.list_projects()
    stores.keys.revoke(key.id)
    with pytest.raises(lookout.exceptions.AccessDeniedException, match="is not known"):
        lookout.list_projects()


def test_a_refused_call_changes_nothing(endpoint: str, stores: Stores) -> None:
    lookout = client(endpoint, stores.keys.create(Role.OPERATOR))
    with pytest.raises(lookout.exceptions.AccessDeniedException):
        lookout.create_project(ProjectName="operators-own")
    assert "operators-own" not in {project.name for project in stores.catalogue.projects()}
