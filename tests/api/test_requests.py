"""What may be wrong with a request before any operation looks at it."""

import json
import re
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from api.auth import LARGEST_REQUEST
from storage.stores import Stores
from tests.api.raw import API, Raw
from tests.conftest import client

JSON = {"Content-Type": "application/json"}
FEW = settings(max_examples=40)
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def test_every_answer_has_a_request_id_of_its_own(raw: Raw) -> None:
    answers = [raw("GET", "/projects"), raw("GET", "/projects"), raw("GET", "/projects/nobody"), raw("GET", "/nothing")]
    answers += [raw.send("GET", f"{API}/projects", b"", {}), raw.send("GET", "/healthz", b"", {})]
    ids = [answer.headers["x-amzn-requestid"] for answer in answers]
    assert all(UUID.fullmatch(id_) for id_ in ids)
    assert len(set(ids)) == len(ids)


def test_the_client_shows_the_request_id(lookout: Any) -> None:
    assert UUID.fullmatch(lookout.list_projects()["ResponseMetadata"]["RequestId"])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"ProjectName=p",
        b"null",
        b"[]",
        b'"p"',
        b"1",
        b'{"ProjectName": "p"} {}',
        b'{"ProjectName": "\xff"}',
        b"\xff\xfe",
        b"\x00",
        b"[" * 100_000,
        b'{"ProjectName":' * 50_000,
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused(raw: Raw, body: bytes) -> None:
    answer = raw("POST", "/projects", body, JSON)
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert "the body of the request" in answer.json()["Message"]


@pytest.mark.parametrize("name", [None, 5, True, 1.5, [], ["p"], {}, {"a": "b"}, "\ud800", ""])
def test_a_member_of_another_type_is_refused_and_named(raw: Raw, name: Any) -> None:
    answer = raw.json("POST", "/projects", {"ProjectName": name})
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert answer.json()["Message"].startswith("ProjectName ")


def test_a_member_that_is_missing_is_named(raw: Raw, project: str) -> None:
    for method, path, content, member in (
        ("POST", "/projects", {}, "ProjectName"),
        ("POST", f"/projects/{project}/datasets", {}, "DatasetType"),
        ("PATCH", f"/projects/{project}/datasets/train/entries", {}, "Changes"),
        ("POST", f"/projects/{project}/models", {}, "OutputConfig"),
        ("POST", f"/projects/{project}/models", {"OutputConfig": {}}, "OutputConfig.S3Location"),
        ("POST", f"/projects/{project}/models", {"OutputConfig": {"S3Location": {}}}, "OutputConfig.S3Location.Bucket"),
        ("POST", f"/projects/{project}/models/1/start", {}, "MinInferenceUnits"),
        ("POST", "/tags/arn", {"Tags": [{"Key": "a"}]}, "Tags.0.Value"),
        ("POST", "/tags/arn", {}, "Tags"),
    ):
        answer = raw.json(method, path, content)
        assert (answer.status, answer.error) == (400, "ValidationException")
        assert answer.json() == {"Message": f"{member} is required"}


def test_members_that_are_not_known_are_passed_over(raw: Raw, project: str) -> None:
    content = {"ProjectName": f"{project}-x", "Colour": "red", "Nested": [{"a": None}]}
    assert raw.json("POST", "/projects", content).status == 200
    assert raw("GET", f"/projects/{project}-x?colour=red").status == 200


@pytest.mark.parametrize(
    "type_",
    [
        "application/json",
        "application/json; charset=utf-8",
        "application/x-amz-json-1.1",
        "application/x-amz-json-1.0",
        "application/octet-stream",
        "text/plain",
        "nonsense",
        None,
    ],
)
def test_json_is_read_whatever_its_content_type(raw: Raw, project: str, type_: str | None) -> None:
    """AWS's older Java client calls it application/x-amz-json-1.1."""
    name = f"{project}-x"
    headers = {} if type_ is None else {"Content-Type": type_}
    answer = raw("POST", "/projects", json.dumps({"ProjectName": name}).encode(), headers)
    assert (answer.status, answer.json()["ProjectMetadata"]["ProjectName"]) == (200, name)


def test_answers_are_json_without_nulls(raw: Raw, project: str) -> None:
    raw.json("POST", f"/projects/{project}/datasets", {"DatasetType": "train"})
    for path in ("/projects", f"/projects/{project}", f"/projects/{project}/datasets/train"):
        answer = raw("GET", path)
        assert answer.headers["content-type"] == "application/json"
        assert b"null" not in answer.body
    answer = raw("DELETE", f"/projects/{project}/datasets/train")
    assert (answer.status, answer.body) == (202, b"{}")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/nothing"),
        ("PUT", "/projects"),
        ("PATCH", "/projects"),
        ("DELETE", "/projects"),
        ("POST", "/projects/p"),
        ("GET", "/projects/p/models/1/start"),
        ("GET", "/projects/p/datasets"),
        ("GET", "/projects/"),
        ("GET", "/projects//models"),
    ],
)
def test_a_call_that_no_operation_has_is_unknown(raw: Raw, method: str, path: str) -> None:
    answer = raw(method, path)
    assert (answer.status, answer.error) == (404, "UnknownOperationException")
    assert method in answer.json()["Message"]


@FEW
@given(st.binary(max_size=60), st.sampled_from(["/projects", "/projects/p/models", "/tags/a", "/projects/p/datasets"]))
def test_no_body_makes_the_service_fail(raw: Raw, body: bytes, path: str) -> None:
    answer = raw("POST", path, body, JSON)
    assert (answer.status, answer.error) == (400, "ValidationException")


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Tags", "OutputConfig", "S3Location", "Bucket", "Key", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@FEW
@given(st.dictionaries(st.sampled_from(["Tags", "OutputConfig", "KmsKeyId", "Description", "x"]), JSON_VALUES))
def test_no_json_makes_the_service_fail(raw: Raw, content: Any) -> None:
    answer = raw.json("POST", "/projects/nobody/models", content)
    assert answer.status in (400, 404)
    assert answer.json()["Message"]


def test_a_body_is_limited_with_and_without_a_content_length(raw: Raw) -> None:
    body = b" " * (LARGEST_REQUEST + 1)
    headers = raw.sign("POST", f"{API}/projects", body, JSON)
    pieces = (body[start : start + 1_000_000] for start in range(0, len(body), 1_000_000))
    for sent in (body, pieces):
        answer = raw.send("POST", f"{API}/projects", sent, headers)
        assert (answer.status, answer.error) == (400, "ValidationException")
        assert "larger than 16,777,216 bytes" in answer.json()["Message"]


def test_a_body_in_pieces_is_read_like_any_other(raw: Raw, project: str) -> None:
    body = json.dumps({"ProjectName": f"{project}-x"}).encode()
    headers = raw.sign("POST", f"{API}/projects", body, JSON)
    answer = raw.send("POST", f"{API}/projects", (bytes([byte]) for byte in body), headers)
    assert answer.status == 200


def test_an_unexpected_failure_is_an_internal_error_with_a_request_id(fresh: Any) -> None:
    service = fresh()
    with service.stores.database.transaction() as connection:
        connection.execute(sa.text("ALTER TABLE project RENAME TO elsewhere"))
    answer = service.raw("GET", "/projects")
    assert (answer.status, answer.error) == (500, "InternalServerException")
    assert "Retry-After" in {name.title() for name in answer.headers}
    assert UUID.fullmatch(answer.headers["x-amzn-requestid"])
    assert "elsewhere" not in answer.body.decode()
    assert "SELECT" not in answer.body.decode()


def test_a_wrong_key_file_is_an_internal_error_that_tells_nothing(fresh: Any, stores: Stores) -> None:
    service = fresh()
    other = stores.keys.create()
    with service.stores.database.transaction() as connection:
        connection.execute(
            sa.text("INSERT INTO access_key SELECT :id, sealed_secret, role, created, projects FROM access_key"),
            {"id": other.id},
        )
    with pytest.raises(Exception, match="InternalServerException") as caught:
        client(service.endpoint, other).list_projects()
    assert "secret.key" not in str(caught.value)
