"""Access keys that are limited to projects: every operation is tried on projects in and out of the list."""

from typing import Any
from urllib.parse import quote

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from api.operation import OPERATIONS
from storage.records import Role
from storage.stores import Stores
from tests.api.calls import ARN, CALLS
from tests.api.raw import Raw
from tests.api.refusals import assert_refused
from tests.conftest import client


def denied(lookout: Any, name: str) -> str:
    """Why a call is denied; nothing where it is not, whatever else becomes of it."""
    try:
        getattr(lookout, xform_name(name))(**CALLS[name])
    except ClientError as error:
        if error.response["Error"]["Code"] == "AccessDeniedException":
            return str(error.response["Error"]["Message"])
    return ""


def test_a_limited_key_may_do_nothing_elsewhere(
    endpoint: str, stores: Stores, caplog: pytest.LogCaptureFixture
) -> None:
    key = stores.keys.create(Role.ADMIN, ["plates", "lids"])
    lookout = client(endpoint, key)
    answers = {name: denied(lookout, name) for name in OPERATIONS}
    limits = f"the access key '{key.id}' is limited to the projects lids, plates"
    assert answers == {name: f"{limits}; {name} is for 'p'" for name in OPERATIONS} | {"ListProjects": ""}
    refused = f"is refused to access key {key.id}, which is limited to the projects lids, plates"
    assert all(f"{name} {refused}" in caplog.text for name, answer in answers.items() if answer)


def test_a_limited_key_may_do_everything_in_its_projects(endpoint: str, stores: Stores) -> None:
    lookout = client(endpoint, stores.keys.create(Role.ADMIN, ["p", "plates"]))
    assert {name: denied(lookout, name) for name in OPERATIONS} == dict.fromkeys(OPERATIONS, "")


def test_its_role_counts_too(endpoint: str, stores: Stores) -> None:
    lookout = client(endpoint, stores.keys.create(Role.INSPECTOR, ["p"]))
    assert "has the role inspector" in denied(lookout, "DeleteProject")
    assert denied(lookout, "DescribeProject") == ""


def test_its_projects_are_listed_and_no_others(fresh: Any) -> None:
    service = fresh()
    limited = client(service.endpoint, service.stores.keys.create(Role.ADMIN, ["plates", "lids", "never-made"]))
    for name in ("plates", "lids"):
        limited.create_project(ProjectName=name)
    for name in ("a", "m", "z"):
        service.lookout.create_project(ProjectName=name)

    def listed(lookout: Any) -> list[str]:
        pages = lookout.get_paginator("list_projects").paginate(PaginationConfig={"PageSize": 1})
        return [project["ProjectName"] for page in pages for project in page["Projects"]]

    assert listed(limited) == ["lids", "plates"]
    assert listed(service.lookout) == ["a", "lids", "m", "plates", "z"]


@pytest.mark.parametrize(
    "name", ["Plates", "plates-2", "plate", "..", "plates%2F..%2Flids", "plates%00", "plates%0A2", "%70lates2"]
)
def test_a_name_that_looks_alike_is_another_one(
    endpoint: str, stores: Stores, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    raw = Raw(endpoint, stores.keys.create(Role.ADMIN, ["plates"]))
    assert raw("GET", f"/projects/{name}/models").error in ("AccessDeniedException", "UnknownOperationException")
    assert not any("\n" in record.getMessage() for record in caplog.records), "a name cannot add a line to the log"


@pytest.mark.parametrize(
    "arn", ["nonsense", ARN.replace("/p/1", "/plates/x"), ARN.replace("model", "project"), quote(ARN), ARN]
)
def test_an_arn_is_read_in_one_way_only(endpoint: str, stores: Stores, arn: str) -> None:
    raw = Raw(endpoint, stores.keys.create(Role.ADMIN, ["plates"]))
    for spelled in (arn, quote(arn, safe=""), quote(quote(arn, safe=""), safe="")):
        answer = raw("GET", f"/tags/{spelled}")
        assert (answer.status, answer.error) == (403, "AccessDeniedException"), spelled
        assert "is limited to the projects plates; ListTagsForResource is for" in answer.json()["Message"]


@pytest.mark.parametrize("body", [{}, {"ProjectName": ["plates"]}, {"projectname": "plates"}, [], "plates", None])
def test_a_body_that_names_no_project_is_refused(endpoint: str, stores: Stores, body: Any) -> None:
    raw = Raw(endpoint, stores.keys.create(Role.ADMIN, ["plates"]))
    answer = raw.json("POST", "/projects", body)
    assert (answer.status, answer.error) == (403, "AccessDeniedException")
    assert "CreateProject is for none of them" in answer.json()["Message"]


def test_a_refused_call_changes_nothing(endpoint: str, stores: Stores) -> None:
    lookout = client(endpoint, stores.keys.create(Role.ADMIN, ["plates"]))
    with assert_refused("AccessDeniedException", "is limited to the projects plates; CreateProject is for 'not-mine'"):
        lookout.create_project(ProjectName="not-mine")
    assert "not-mine" not in {project.name for project in stores.catalogue.projects()}
