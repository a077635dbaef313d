"""The newest boto3, which no longer knows the service, with the files that `vigil service-model` writes."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import vigil
from tests.conformance.programs import journey, needs, run
from tests.journey import BUCKET
from tests.service import Service

pytestmark = needs("boto3")


@pytest.mark.timeout(600)
def test_the_main_job(service: Service, bucket: str, tmp_path: Path) -> None:
    plates = service.bucket(BUCKET)
    image = tmp_path / "new.png"
    image.write_bytes((plates / "plates" / "030.png").read_bytes())
    (tmp_path / "new.png.line").write_bytes((plates / "more.manifest").read_bytes())
    written = vigil("service-model", str(tmp_path / "models"))
    assert written.returncode == 0, written.stderr

    models = {"AWS_DATA_PATH": str(tmp_path / "models")}
    seen = json.loads(
        journey("boto3", "journey_boto3.py", bucket, str(image), service=service, folder=tmp_path, **models)
    )
    assert tuple(map(int, seen["version"].split("."))) > (1, 40, 60)
    assert seen["projects"] == ["newest", "newest-2", "newest-3"]
    assert seen["conflict"] == "newest"
    assert seen["errors"] == {
        "missing": "ResourceNotFoundException",
        "invalid": "ValidationException",
        "empty": "ParamValidationError",
        "required": "ParamValidationError",
    }
    assert seen["dataset"]["Status"] == "CREATE_COMPLETE"
    assert seen["entries"] == [7, 7, 7, 7, 2]
    assert seen["updated"]["Status"] == "UPDATE_COMPLETE"
    assert seen["updated"]["ImageStats"] == {"Total": 31, "Labeled": 31, "Normal": 20, "Anomaly": 11}
    assert seen["model"]["Status"] == "TRAINED", seen["model"]["StatusMessage"]
    assert [item["Performance"] for item in seen["models"]] == [seen["model"]["Performance"]]
    assert seen["tags"] == [{"Key": "line", "Value": "3"}]
    assert (seen["hosted"], seen["stopped"]) == ("HOSTED", "TRAINED")
    assert seen["found"]["IsAnomalous"]
    assert seen["found"]["Anomalies"][0]["Name"] == "background"
    assert bytes.fromhex(seen["mask"]) == b"\x89PNG\r\n\x1a\n"


def test_without_the_files_it_does_not_know_the_service(service: Service, tmp_path: Path) -> None:
    program = "import boto3; boto3.client('lookoutvision')"
    made = run("boto3", "python", "-c", program, environment=service.exports() | {"HOME": str(tmp_path)})
    assert "UnknownServiceError" in made.stderr
