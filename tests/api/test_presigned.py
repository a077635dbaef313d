"""Requests whose signature is in the query, made by botocore's own signer."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.access import AccessKey
from storage.stores import Stores
from tests.api.raw import API, Answer, Raw
from tests.api.test_authentication import assert_denied

FEW = settings(max_examples=40)
TEMPORARY = "of-a-temporary-credential"
CHANGED = "changed on its way"


class Presigner(SigV4QueryAuth):
    """botocore's signer with a clock that is off; it leaves the body where it is, which botocore moves to the query."""

    def __init__(self, credentials: Credentials, service: str, expires: Any, off: timedelta, body: bytes) -> None:
        super().__init__(credentials, service, "eu-west-1", expires)
        self._off, self._body = off, body

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = (datetime.now(UTC) + self._off).strftime("%Y%m%dT%H%M%SZ")
        super()._modify_request_before_signing(request)

    def payload(self, _request: AWSRequest) -> str:
        return hashlib.sha256(self._body).hexdigest()


def presigned(
    raw: Raw,
    method: str,
    path: str,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    *,
    key: AccessKey | None = None,
    token: str | None = None,
    service: str = "lookoutvision",
    expires: Any = 60,
    off: timedelta = timedelta(0),
) -> str:
    """The path and query to send."""
    request = AWSRequest(method, raw.endpoint + path, dict(headers or {}))
    signing = key or raw.key
    credentials = Credentials(signing.id, signing.secret, token)
    Presigner(credentials, service, expires, off, body).add_auth(request)
    return request.url.removeprefix(raw.endpoint)


def get(raw: Raw, path: str = f"{API}/projects", **how: Any) -> Answer:
    return raw.send("GET", presigned(raw, "GET", path, **how), b"", {})


def test_boto3s_presigned_url_is_accepted(raw: Raw, lookout: Any) -> None:
    url = lookout.generate_presigned_url("list_projects", {"MaxResults": 3}, ExpiresIn=60)
    answer = raw.send("GET", url.removeprefix(raw.endpoint), b"", {})
    assert (answer.status, "Projects" in answer.json()) == (200, True)


def test_boto3_takes_the_body_away_when_it_presigns(raw: Raw, lookout: Any) -> None:
    parameters = {"ProjectName": "in-the-query", "ClientToken": "token"}
    url = lookout.generate_presigned_url("create_project", parameters, ExpiresIn=60)
    target = url.removeprefix(raw.endpoint)
    signed = {"Content-Type": "application/json", "X-Amzn-Client-Token": "token"}
    assert_denied(raw.send("POST", target, b'{"ProjectName": "in-the-body"}', signed), CHANGED)
    answer = raw.send("POST", target, b"", signed)
    assert (answer.status, answer.json()["Message"]) == (400, "the body of the request is required")


def test_a_presigned_body_is_accepted_and_no_other(raw: Raw, stores: Stores) -> None:
    body = b'{"ProjectName": "presigned"}'
    target = presigned(raw, "POST", f"{API}/projects", body)
    assert_denied(raw.send("POST", target, body.replace(b"pre", b"for"), {}), CHANGED)
    assert_denied(raw.send("POST", target, b"", {}), CHANGED)
    assert "forsigned" not in {project.name for project in stores.catalogue.projects()}
    assert raw.send("POST", target, body, {}).status == 200


def test_a_body_that_is_not_signed_is_refused(raw: Raw) -> None:
    request = AWSRequest("POST", f"{raw.endpoint}{API}/projects")
    S3SigV4QueryAuth(Credentials(raw.key.id, raw.key.secret), "lookoutvision", "us-east-1", 60).add_auth(request)
    target = request.url.removeprefix(raw.endpoint)
    assert_denied(raw.send("POST", target, b'{"ProjectName": "a"}', {}), CHANGED)
    unsigned = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}
    target = presigned(raw, "POST", f"{API}/projects", headers=unsigned)
    assert_denied(raw.send("POST", target, b'{"ProjectName": "a"}', unsigned), "must cover the body")


@pytest.mark.parametrize(
    ("expires", "seconds"), [(1, 299), (60, -30), (604_800, -604_700), (604_800, 0), ("1", 0), (100, 250)]
)
def test_it_is_valid_from_five_minutes_before_its_date_until_it_expires(raw: Raw, expires: Any, seconds: float) -> None:
    answer = get(raw, expires=expires, off=timedelta(seconds=seconds))
    assert answer.status == 200, answer.body


@pytest.mark.parametrize(
    ("expires", "seconds", "why"),
    [
        (60, -90, "has expired"),
        (1, -400, "has expired"),
        (604_800, -604_900, "has expired"),
        (604_800, 360, "seconds ahead; at most 300"),
        (604_801, 0, "X-Amz-Expires must be"),
        (0, 0, "X-Amz-Expires must be"),
        (-5, 0, "X-Amz-Expires must be"),
        ("", 0, "X-Amz-Expires must be"),
        ("1e3", 0, "X-Amz-Expires must be"),
        ("٣", 0, "X-Amz-Expires must be"),
    ],
)
def test_it_is_not_valid_at_any_other_time(raw: Raw, expires: Any, seconds: float, why: str) -> None:
    assert_denied(get(raw, expires=expires, off=timedelta(seconds=seconds)), why)


def test_no_part_of_it_can_be_exchanged(raw: Raw) -> None:
    target = presigned(raw, "GET", f"{API}/projects?maxResults=1", headers={"X-Extra": "a  b"})
    assert raw.send("GET", target, b"", {"X-Extra": "a b"}).status == 200
    for old, new, why in (
        ("maxResults=1", "maxResults=2", CHANGED),
        ("maxResults=1", "maxResults=1&x=1", CHANGED),
        ("Expires=60", "Expires=61", CHANGED),
        ("eu-west-1", "eu-west-2", CHANGED),
        ("/projects", "/projects/p", CHANGED),
        ("HMAC-SHA256", "HMAC-SHA512", "X-Amz-Algorithm"),
        ("aws4_request", "aws5_request", "X-Amz-Credential"),
        ("host%3B", "", "must cover the header host"),
        ("%3Bx-extra", "", CHANGED),
        ("X-Amz-Signature=", "X-Amz-Signature=0", CHANGED),
        ("X-Amz-Signature=", "X-Amz-Signature=%C3%BC", CHANGED),
        ("X-Amz-Date=2", "X-Amz-Date=1", "different days"),
        ("X-Amz-Date=", "X-Amz-Date=x", "X-Amz-Date is missing or not"),
        ("X-Amz-Date=", "X-Amz-Expires=9&X-Amz-Date=", "more than once"),
        ("X-Amz-Date=", "X-Amz-Dat=", "lacks X-Amz-Date"),
    ):
        assert old in target
        assert_denied(raw.send("GET", target.replace(old, new), b"", {"X-Extra": "a b"}), why)
    assert_denied(raw.send("GET", target, b"", {"X-Extra": "a c"}), CHANGED)
    assert_denied(raw.send("GET", target, b"", {"X-Extra": "a b", "Host": "elsewhere"}), CHANGED)
    assert_denied(raw.send("DELETE", target, b"", {"X-Extra": "a b"}), CHANGED)


def test_a_header_that_counts_cannot_be_added(raw: Raw) -> None:
    target = presigned(raw, "GET", f"{API}/projects")
    for name in ("X-Amzn-Client-Token", "X-Amz-Date", "X-Vigil-Explain"):
        assert_denied(raw.send("GET", target, b"", {name: "map"}), f"must cover the header {name.lower()}")
    assert raw.send("GET", target, b"", {"X-Amzn-Trace-Id": "added-by-a-proxy"}).status == 200


def test_one_signature_is_enough(raw: Raw) -> None:
    target = presigned(raw, "GET", f"{API}/projects")
    signed = raw.sign("GET", target)
    assert_denied(raw.send("GET", target, b"", signed), "signed twice")
    assert_denied(raw.send("GET", target, b"", {"Authorization": "Basic YTpi"}), "signed twice")
    signed = raw.sign("GET", f"{API}/projects?X-Amz-Expires=60")
    assert_denied(raw.send("GET", f"{API}/projects?X-Amz-Expires=60", b"", signed), "signed twice")


def test_who_signs_it_is_checked(raw: Raw, stores: Stores) -> None:
    assert_denied(get(raw, service="s3"), "signed for the service 's3'")
    assert_denied(get(raw, token=TEMPORARY), "X-Amz-Security-Token belongs to temporary credentials")
    assert_denied(get(raw, key=AccessKey(raw.key.id, "wrong", raw.key.role)), "the secret that belongs to")
    assert_denied(get(raw, key=AccessKey("AKIANOBODY", "wrong", raw.key.role)), "'AKIANOBODY' is not known")
    revoked = stores.keys.create()
    stores.keys.revoke(revoked.id)
    assert_denied(get(raw, key=revoked), f"'{revoked.id}' is not known")
    alone = presigned(raw, "GET", f"{API}/projects").partition("X-Amz-Signature=")[2]
    assert_denied(raw.send("GET", f"{API}/projects?X-Amz-Signature={alone}", b"", {}), "lacks X-Amz-Algorithm")


TEXT = st.text(max_size=12)


@FEW
@given(st.dictionaries(TEXT, TEXT, max_size=5))
def test_any_query_is_accepted(raw: Raw, values: dict[str, str]) -> None:
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in values.items())
    answer = get(raw, f"{API}/nothing?{query}" if query else f"{API}/nothing")
    assert answer.status == 404, answer.body


@FEW
@given(st.text(max_size=20), st.sampled_from(["", ":/", ":"]))
def test_any_path_is_accepted(raw: Raw, text: str, safe: str) -> None:
    answer = get(raw, f"{API}/tags/{quote(text, safe=safe)}x")
    assert answer.status in (400, 404), answer.body


@FEW
@given(st.dictionaries(st.sampled_from(["x-a", "x-amz-b", "content-type"]), st.text("ab \t;,:/", max_size=9)))
def test_any_headers_are_accepted(raw: Raw, headers: dict[str, str]) -> None:
    headers = {name: value.strip() for name, value in headers.items()}
    answer = raw.send("GET", presigned(raw, "GET", f"{API}/projects", headers=headers), b"", headers)
    assert answer.status == 200, answer.body


@FEW
@given(st.text(max_size=40), st.sampled_from(["Algorithm", "Credential", "Date", "Expires", "SignedHeaders"]))
def test_no_parameter_makes_the_service_fail(raw: Raw, text: str, name: str) -> None:
    target = presigned(raw, "GET", f"{API}/projects")
    parts = [pair for pair in urlsplit(target).query.split("&") if not pair.startswith(f"X-Amz-{name}=")]
    query = "&".join([*parts, f"X-Amz-{name}={quote(text, safe='')}"])
    answer = raw.send("GET", f"{API}/projects?{query}", b"", {})
    assert (answer.status, answer.error) == (403, "AccessDeniedException")
