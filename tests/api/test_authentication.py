from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.signature import sign
from storage.access import AccessKey
from storage.stores import Stores
from tests.api import arrange
from tests.api.raw import API, Answer, Raw
from tests.api.refusals import assert_refused
from tests.conftest import client, wait_until
from tests.postgres import PROGRAM, running_postgres

JSON = {"Content-Type": "application/json"}
FEW = settings(max_examples=40)
needs_postgres = pytest.mark.skipif(PROGRAM is None, reason="PostgreSQL is not tested: it is not installed")


def assert_denied(answer: Answer, why: str) -> None:
    assert (answer.status, answer.error) == (403, "AccessDeniedException")
    assert why in answer.json()["Message"]


def test_the_client_sees_an_access_denied_exception(endpoint: str, key: AccessKey) -> None:
    with assert_refused("AccessDeniedException", "the secret that belongs to"):
        client(endpoint, AccessKey(key.id, "wrong", "admin")).list_projects()
    with assert_refused("AccessDeniedException", "'AKIANOBODY' is not known"):
        client(endpoint, AccessKey("AKIANOBODY", key.secret, "admin")).list_projects()


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "ap-northeast-2", "mars-1"])
def test_every_region_is_accepted(raw: Raw, region: str) -> None:
    assert raw("GET", "/projects", region=region).status == 200


def test_a_signature_for_another_service_is_refused(raw: Raw) -> None:
    assert_denied(raw("GET", "/projects", service="s3"), "signed for the service 's3'")


@pytest.mark.parametrize("headers", [{}, {"Authorization": ""}, {"Authorization": "Basic YTpi"}, {"X-Amz-Date": "x"}])
def test_an_unsigned_request_is_refused(raw: Raw, headers: dict[str, str]) -> None:
    assert_denied(raw.send("GET", f"{API}/projects", b"", headers), "not signed")
    assert_denied(raw.send("POST", f"{API}/projects", b"{}", headers), "not signed")


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_clock_six_minutes_off_is_refused_and_says_so(raw: Raw, minutes: int) -> None:
    answer = raw("GET", "/projects", off=timedelta(minutes=minutes))
    assert_denied(answer, "ahead; at most 300" if minutes > 0 else "ago; at most 300")
    assert "clock" in answer.json()["Message"]


@pytest.mark.parametrize("minutes", [-4, 4])
def test_a_clock_four_minutes_off_is_accepted(raw: Raw, minutes: int) -> None:
    assert raw("GET", "/projects", off=timedelta(minutes=minutes)).status == 200


def test_whatever_was_changed_on_its_way_is_refused(raw: Raw) -> None:
    path, body = f"{API}/projects?maxResults=1", b'{"ProjectName": "signed"}'
    signed = raw.sign("GET", path, b"", {"X-Extra": "a  b"})
    assert raw.send("GET", path, b"", signed).status == 200
    changed = "the request was changed on its way"
    assert_denied(raw.send("GET", f"{API}/projects?maxResults=2", b"", signed), changed)
    assert_denied(raw.send("GET", f"{API}/projects?maxResults=1&x=1", b"", signed), changed)
    assert_denied(raw.send("GET", f"{API}/projects", b"", signed), changed)
    assert_denied(raw.send("GET", f"{API}/projects/p?maxResults=1", b"", signed), changed)
    assert_denied(raw.send("DELETE", path, b"", signed), changed)
    assert_denied(raw.send("GET", path, b"x", signed), changed)
    assert_denied(raw.send("GET", path, b"", signed | {"X-Extra": "a c"}), changed)
    assert_denied(raw.send("GET", path, b"", signed | {"Host": "elsewhere"}), changed)
    assert_denied(
        raw.send("POST", f"{API}/projects", body.replace(b"signed", b"forged"), raw.sign("POST", path, body)), ""
    )


def test_bytes_that_are_no_text_cannot_be_exchanged_either(raw: Raw) -> None:
    path = f"{API}/nothing?x=%FF"
    signed = raw.sign("GET", path)
    assert raw.send("GET", path, b"", signed).status == 404
    assert_denied(raw.send("GET", f"{API}/nothing?x=%FE", b"", signed), "changed on its way")


def test_parts_of_the_signature_cannot_be_exchanged(raw: Raw) -> None:
    path = f"{API}/projects"
    signed = raw.sign("GET", path)
    text = signed["Authorization"]
    for old, new in (
        ("us-east-1", "us-east-2"),
        ("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA512"),
        ("aws4_request", "aws5_request"),
        (text[-1], "0" if text[-1] != "0" else "1"),
        ("host;", ""),
        (";x-amz-date", ""),
    ):
        assert old in text
        start, _, end = text.rpartition(old)
        assert_denied(raw.send("GET", path, b"", signed | {"Authorization": start + new + end}), "")
    day_before = "2020" + signed["X-Amz-Date"][4:]
    assert_denied(raw.send("GET", path, b"", signed | {"X-Amz-Date": day_before}), "different days")
    assert_denied(raw.send("GET", path, b"", signed | {"X-Amz-Date": "yesterday"}), "x-amz-date")


def test_a_content_digest_must_be_that_of_the_body(raw: Raw) -> None:
    wrong = {"X-Amz-Content-SHA256": "0" * 64}
    assert_denied(raw("GET", "/projects", headers=wrong), "x-amz-content-sha256")


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}, "must cover the body"),
        ({"X-Amz-Content-SHA256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, "aws-chunked are not accepted"),
        ({"X-Amz-Content-SHA256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}, "aws-chunked are not accepted"),
        ({"Content-Encoding": "gzip,aws-chunked"}, "aws-chunked are not accepted"),
        ({"X-Amz-Content-SHA256": ""}, "x-amz-content-sha256"),
    ],
)
def test_a_body_is_signed_as_a_whole_or_refused(raw: Raw, headers: dict[str, str], why: str) -> None:
    assert_denied(raw("POST", "/projects", b'{"ProjectName": "a"}', headers), why)


def test_a_body_in_pieces_is_verified_as_well(raw: Raw, stores: Stores) -> None:
    body = b'{"ProjectName": "in-pieces"}'
    signed = raw.sign("POST", f"{API}/projects", body, JSON)
    forged = body.replace(b"in-", b"of-")
    assert_denied(raw.send("POST", f"{API}/projects", (bytes([byte]) for byte in forged), signed), "changed on its way")
    assert "of-pieces" not in {project.name for project in stores.catalogue.projects()}
    assert raw.send("POST", f"{API}/projects", (bytes([byte]) for byte in body), signed).status == 200


@pytest.mark.parametrize("name", ["X-Amzn-Client-Token", "X-Amz-Content-SHA256", "X-Vigil-Explain"])
def test_a_header_that_counts_cannot_be_added(raw: Raw, name: str) -> None:
    path = f"{API}/projects"
    signed = raw.sign("GET", path)
    assert raw.send("GET", path, b"", signed | {"X-Amzn-Trace-Id": "added-by-a-proxy"}).status == 200
    assert_denied(raw.send("GET", path, b"", signed | {name: "x"}), f"must cover the header {name.lower()}")


@needs_postgres
def test_a_catalogue_that_is_away_is_no_reason_to_let_anybody_in_nor_to_send_them_away(fresh: Any) -> None:
    with running_postgres() as postgres:
        service = fresh(catalogue_url=postgres.database())
        assert "Projects" in service.lookout.list_projects()
        other = Raw(service.endpoint, service.stores.keys.create())
        postgres.kill()
        answer = other("GET", "/projects")
        assert (answer.status, answer.error) == (500, "InternalServerException")
        assert "the catalogue, which holds the access keys, does not answer; try again" in answer.json()["Message"]
        assert answer.headers["retry-after"] == "5"
        postgres.start()
        wait_until(lambda: other("GET", "/projects").status == 200, 60, "the calls to go through again")
        service.stores.database.close()


def test_headers_are_found_in_any_case(raw: Raw) -> None:
    path = f"{API}/projects"
    signed = raw.sign("GET", path, headers={"X-Amz-Security-Token": "none"})
    for spelled in (str.lower, str.upper, str.title):
        headers = {spelled(name): value for name, value in signed.items()}
        assert raw.send("GET", path, b"", headers).status == 200


def test_every_method_and_a_body_are_verified(raw: Raw, stores: Stores, project: str) -> None:
    arrange.model(stores, project)
    arn = quote(f"arn:aws:lookoutvision:us-east-1:000000000000:model/{project}/1", safe="")
    assert raw.json("POST", f"/projects/{project}/datasets", {"DatasetType": "train"}).status == 202
    assert raw.json("PATCH", f"/projects/{project}/datasets/train/entries", {"Changes": "e30="}).status == 202
    assert raw("GET", f"/tags/{arn}").status == 200
    assert raw("DELETE", f"/tags/{arn}?tagKeys=a%20b&tagKeys=%C3%BC&tagKeys=a%2Bb").status == 200
    assert raw("DELETE", f"/projects/{project}/datasets/train").status == 202


# What may stand in a query on the wire, percent-encoded as botocore does it.
TEXT = st.text(max_size=12)


@FEW
@given(st.lists(st.tuples(TEXT, TEXT), max_size=5))
def test_botocores_signature_of_any_query_is_accepted(raw: Raw, pairs: list[tuple[str, str]]) -> None:
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    answer = raw("GET", f"/nothing?{query}")
    assert answer.status == 404, answer.body


@FEW
@given(st.text(max_size=20), st.sampled_from(["", ":/", ":"]))
def test_botocores_signature_of_any_path_is_accepted(raw: Raw, text: str, safe: str) -> None:
    answer = raw("GET", f"/tags/{quote(text, safe=safe)}x")
    assert answer.status in (400, 404), answer.body


@FEW
@given(st.dictionaries(st.sampled_from(["x-a", "x-b", "content-type"]), st.text("ab \t;,:/", max_size=9)))
def test_our_signer_and_botocores_agree(raw: Raw, headers: dict[str, str]) -> None:
    headers = {name: value.strip() for name, value in headers.items()}
    path, query = "/2020-11-20/tags/arn%3Aaws%2Fx", "b=%20&a=2&a=1&c="
    host = raw.endpoint.removeprefix("http://")
    ours = sign("POST", host, path, query, headers, b"body", (raw.key.id, raw.key.secret), "eu-west-1")
    theirs = raw.sign("POST", f"{path}?{query}", b"body", headers, region="eu-west-1")
    if ours["x-amz-date"] == theirs["X-Amz-Date"]:
        assert ours["authorization"] == theirs["Authorization"]
    assert raw.send("POST", f"{path}?{query}", b"body", ours).status != 403


def test_our_signer_is_accepted_by_the_service(endpoint: str, key: AccessKey) -> None:
    host = endpoint.removeprefix("http://")
    headers = sign("GET", host, f"{API}/projects", "maxResults=5", {}, b"", (key.id, key.secret), "eu-west-1")
    assert httpx.get(f"{endpoint}{API}/projects?maxResults=5", headers=headers).status_code == 200


def test_a_key_of_another_service_is_not_known(fresh: Any, key: AccessKey) -> None:
    with assert_refused("AccessDeniedException", "not known"):
        client(fresh().endpoint, key).list_projects()
