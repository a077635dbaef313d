"""What the role of an access key lets its holder do: every operation is tried with every role."""

import pytest
from botocore import xform_name
from botocore.exceptions import ClientError

from api.operation import OPERATIONS
from storage.records import Role
from storage.stores import Stores
from tests.api.calls import CALLS
from tests.conftest import client, wait_until

LOOKING = {name for name in OPERATIONS if name.startswith(("Describe", "List"))} | {"DetectAnomalies"}
HOSTING = {"StartModel", "StopModel"}
ALLOWED = {Role.INSPECTOR: LOOKING, Role.OPERATOR: LOOKING | HOSTING, Role.ADMIN: set(OPERATIONS)}


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


def test_a_revoked_key_is_soon_not_known_any_more(endpoint: str, stores: Stores) -> None:
    key = stores.keys.create(Role.INSPECTOR)
    lookout = client(endpoint, key)
    assert "Projects" in lookout.list_projects()
    stores.keys.revoke(key.id)

    def refusal() -> str:
        try:
            lookout.list_projects()
        except ClientError as error:
            return str(error)
        return ""

    assert "is not known" in wait_until(refusal, 30, "the revoked key to be refused")


def test_a_refused_call_changes_nothing(endpoint: str, stores: Stores) -> None:
    lookout = client(endpoint, stores.keys.create(Role.OPERATOR))
    with pytest.raises(lookout.exceptions.AccessDeniedException):
        lookout.create_project(ProjectName="operators-own")
    assert "operators-own" not in {project.name for project in stores.catalogue.projects()}
