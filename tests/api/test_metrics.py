"""What Prometheus reads, with the key it sends, and the line that each detection leaves in the log."""

import base64
import logging
import re
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from prometheus_client.parser import text_string_to_metric_families

from storage.access import AccessKey
from storage.records import Role
from storage.stores import Stores
from tests.api.raw import Answer, Raw
from tests.api.replica_server import JPEG, RESULT, Replica, Server, detect, host, well


def page(raw: Raw, key: AccessKey) -> Answer:
    pair = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
    return raw.send("GET", "/metrics", b"", {"Authorization": f"Basic {pair}"})


def figures(raw: Raw, project: str) -> dict[str, float]:
    """name → value of all samples about a project's model 1, but for the buckets."""
    answer = page(raw, raw.key)
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    samples = [s for family in text_string_to_metric_families(answer.body.decode()) for s in family.samples]
    mine = [s for s in samples if s.labels.get("project") == project and not s.name.endswith("_bucket")]
    assert {s.labels["model_version"] for s in mine} <= {"1"}
    return {s.name.removeprefix("vigil_"): s.value for s in mine}


def test_detections_are_counted_as_lookout_counted_them(
    raw: Raw, lookout: Any, stores: Stores, project: str, replica: Callable[..., Server]
) -> None:
    normal = {"DetectAnomalyResult": {**RESULT["DetectAnomalyResult"], "IsAnomalous": False}}
    answers: list[Callable[[Replica], None]] = [
        well,
        well,
        lambda request: request.answer(200, normal, {"X-Vigil-Anomalous": "false"}),
        lambda request: request.answer(422, {"message": "damaged"}),
        lambda request: request.answer(503, {"message": "full"}),
        lambda request: request.answer(500, {"message": "out of memory"}),
    ]
    script = iter(answers)
    server = replica(lambda request: next(script)(request))
    host(stores, project, server, "127.0.0.1:1")
    dead = next(unit for unit in stores.hosting.units(f"host-of-{project}") if unit.slot == 1)
    stores.hosting.lost(f"host-of-{project}", dead, "killed")
    for _ in answers:
        try:
            detect(lookout, project)
        except ClientError:
            continue
    found = figures(raw, project)
    assert found.pop("Time_seconds_sum") > 0
    assert found == {
        "ProcessedImageCount_total": 3,
        "SuccessfulRequestCount_total": 3,
        "DetectedAnomalyCount_total": 2,
        "InvalidImageCount_total": 1,
        "ErrorCount_total": 2,
        "ThrottledCount_total": 1,
        "Time_seconds_count": 3,
        "DesiredInferenceUnits": 2,
        "InServiceInferenceUnits": 1,
        "QueueDepth": 3,
        "BatchSize_count": 4,
        "BatchSize_sum": 10,
        "DeviceMemory_bytes": 1e9,
    }


def test_what_is_no_image_and_what_is_no_model(raw: Raw, lookout: Any, stores: Stores, project: str) -> None:
    with pytest.raises(lookout.exceptions.ResourceNotFoundException):
        detect(lookout, project)
    assert figures(raw, project) == {}, "names that a caller makes up get no figures"
    host(stores, project, "127.0.0.1:1")
    with pytest.raises(lookout.exceptions.ValidationException):
        lookout.detect_anomalies(ProjectName=project, ModelVersion="1", Body=b"GIF89a", ContentType="image/png")
    found = figures(raw, project)
    assert (found["InvalidImageCount_total"], found["ErrorCount_total"]) == (1, 1)


def test_the_metrics_are_for_keys_of_all_projects(raw: Raw, stores: Stores, key: AccessKey) -> None:
    assert page(raw, stores.keys.create(Role.INSPECTOR)).status == 200
    signed = raw.send("GET", "/metrics", b"", raw.sign("GET", "/metrics"))
    assert signed.status == 200, "a signature is as good"
    limited = page(raw, stores.keys.create(Role.ADMIN, ["plates"]))
    assert (limited.status, limited.error) == (403, "AccessDeniedException")
    for wrong in (AccessKey(key.id, "wrong", Role.ADMIN), AccessKey("AKIANOBODY", key.secret, Role.ADMIN)):
        answer = page(raw, wrong)
        assert (answer.status, answer.error) == (403, "AccessDeniedException")
        assert key.secret not in answer.body.decode()
    for broken in ("", "%%%", base64.b64encode(b"\xff\xfe").decode()):
        assert raw.send("GET", "/metrics", b"", {"Authorization": f"Basic {broken}"}).status == 403


def test_operations_take_no_password(raw: Raw, key: AccessKey) -> None:
    pair = base64.b64encode(f"{key.id}:{key.secret}".encode()).decode()
    assert raw.send("GET", "/2020-11-20/projects", b"", {"Authorization": f"Basic {pair}"}).status == 403


def test_each_detection_leaves_one_line(
    raw: Raw, stores: Stores, project: str, replica: Callable[..., Server], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "api.detections")
    told = {"X-Vigil-Anomalous": "true", "Server-Timing": "queue;dur=0.1, decode;dur=2.0, score;dur=20.5"}
    host(stores, project, replica(lambda request: request.answer(200, RESULT, told)))
    answer = raw("POST", f"/projects/{project}/models/latest/detect", JPEG, {"Content-Type": "image/jpeg"})
    refused = raw("POST", f"/projects/{project}/models/1/detect", b"GIF89a", {"Content-Type": "image/jpeg"})
    first, second = (record.getMessage() for record in caplog.records if record.name == "api.detections")
    common = f"key={raw.key.id} project={project} version=1"
    assert re.fullmatch(
        rf"event=detection request={answer.headers['x-amzn-requestid']} {common} decision=anomaly "
        r"ms=\d+\.\d queue_ms=0\.1 decode_ms=2\.0 score_ms=20\.5",
        first,
    )
    assert re.fullmatch(
        rf"event=detection request={refused.headers['x-amzn-requestid']} {common} decision=ValidationException "
        r"ms=\d+\.\d",
        second,
    )
