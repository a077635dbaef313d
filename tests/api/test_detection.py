"""What DetectAnomalies refuses before a replica sees the image."""

from typing import Any

import pytest

from storage.records import ModelStatus
from storage.stores import Stores
from tests.api import arrange
from tests.api.raw import API, Raw
from tests.api.refusals import assert_refused

JPEG = b"\xff\xd8\xff\xe0" + b"jpeg"
PNG = b"\x89PNG\r\n\x1a\n" + b"png"


def detect(lookout: Any, project: str, body: bytes = JPEG, type_: str = "image/jpeg", version: str = "1") -> Any:
    return lookout.detect_anomalies(ProjectName=project, ModelVersion=version, Body=body, ContentType=type_)


@pytest.fixture
def hosted(stores: Stores, project: str) -> str:
    """A project whose model is hosted by a replica that nobody answers for."""
    arrange.hosted(stores, project, {"replica": "127.0.0.1:1"})
    return project


def test_an_empty_body_is_refused(lookout: Any, hosted: str) -> None:
    with assert_refused("ValidationException", "the body is empty"):
        detect(lookout, hosted, b"")


@pytest.mark.parametrize("type_", ["image/gif", "application/json", "jpeg", "image/jpg", "image/*", "x" * 256])
def test_another_content_type_is_refused_with_those_that_are_allowed(lookout: Any, hosted: str, type_: str) -> None:
    with assert_refused("ValidationException", "image/jpeg, image/png|Content-Type"):
        detect(lookout, hosted, type_=type_)


def test_a_missing_content_type_is_refused(raw: Raw, hosted: str) -> None:
    answer = raw("POST", f"/projects/{hosted}/models/1/detect", JPEG)
    assert (answer.status, answer.error) == (400, "ValidationException")
    assert answer.json()["Message"] == "Content-Type is required"


@pytest.mark.parametrize(
    ("body", "type_", "message"),
    [
        (JPEG, "image/png", "Content-Type is image/png, but the body is image/jpeg"),
        (PNG, "image/jpeg", "Content-Type is image/jpeg, but the body is image/png"),
        (b"GIF89a", "image/png", "neither a JPEG nor a PNG"),
        (b"\xff\xd8", "image/jpeg", "neither a JPEG nor a PNG"),
        (b"{}", "image/jpeg", "neither a JPEG nor a PNG"),
    ],
)
def test_a_body_that_is_not_what_its_type_says_is_refused(
    lookout: Any, hosted: str, body: bytes, type_: str, message: str
) -> None:
    with assert_refused("ValidationException", message):
        detect(lookout, hosted, body, type_)


@pytest.mark.parametrize("status", [s for s in ModelStatus if s not in ("HOSTED", "SYSTEM_UPDATING")])
def test_a_model_that_is_not_hosted_is_a_conflict(
    lookout: Any, stores: Stores, project: str, status: ModelStatus
) -> None:
    arrange.model(stores, project, status)
    with assert_refused("ConflictException", status) as error:
        detect(lookout, project)
    assert (error["ResourceId"], error["ResourceType"]) == (f"{project}/1", "MODEL")


def test_a_model_that_is_not_there_is_not_found(lookout: Any, project: str) -> None:
    for version in ("1", "latest"):
        with assert_refused("ResourceNotFoundException") as error:
            detect(lookout, project, version=version)
        assert error["ResourceType"] == "MODEL"
    with assert_refused("ResourceNotFoundException") as error:
        detect(lookout, "nobody")
    assert error["ResourceType"] == "PROJECT"


def test_an_image_is_limited_with_and_without_a_content_length(fresh: Any) -> None:
    service = fresh(max_image_bytes=2048, replica_wait_seconds=0)
    service.lookout.create_project(ProjectName="p")
    arrange.model(service.stores, "p", ModelStatus.HOSTED)
    path = f"{API}/projects/p/models/1/detect"
    fits = JPEG.ljust(2048, b"x")
    with assert_refused("InternalServerException"):
        detect(service.lookout, "p", fits)
    for length in (2049, 3000, 100_000):
        body = JPEG.ljust(length, b"x")
        with assert_refused("ValidationException", "the image is larger than 2,048 bytes"):
            detect(service.lookout, "p", body)
        headers = service.raw.sign("POST", path, body, {"Content-Type": "image/jpeg"})
        pieces = (body[start : start + 1000] for start in range(0, length, 1000))
        answer = service.raw.send("POST", path, pieces, headers)
        assert (answer.status, answer.error) == (400, "ValidationException")


def test_an_image_of_eight_megabytes_is_taken(fresh: Any) -> None:
    service = fresh(replica_wait_seconds=0)
    service.lookout.create_project(ProjectName="p")
    arrange.model(service.stores, "p", ModelStatus.HOSTED)
    with assert_refused("InternalServerException", "no inference unit"):
        detect(service.lookout, "p", JPEG.ljust(8 * 1024 * 1024, b"x"))


def test_without_a_replica_the_caller_is_told_to_come_back(fresh: Any) -> None:
    service = fresh(replica_wait_seconds=0)
    service.lookout.create_project(ProjectName="p")
    arrange.model(service.stores, "p", ModelStatus.HOSTED)
    with assert_refused("InternalServerException", "no inference unit of p/1 is running") as error:
        detect(service.lookout, "p")
    assert error["ResponseMetadata"]["HTTPHeaders"]["retry-after"] == "2"
