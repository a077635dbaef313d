"""The main job through AWS's client against a whole service: from an empty project to decisions and back."""

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.cli.parts import HEIGHT, WIDTH
from tests.conftest import wait_until
from tests.journey import (
    BUCKET,
    create_project,
    detect,
    evaluation,
    host,
    manifest,
    render_parts,
    train,
    wait_for_dataset,
    wait_for_model,
)
from tests.service import Service


def test_segmentation_from_manifest_to_mask_and_deletion(service: Service, lookout: Any) -> None:
    images = render_parts(service, "plates", normal=24, anomaly=12, seed=1, masks=True)
    described = create_project(lookout, service, "plates", manifest(images, masks=True))
    assert described["Status"] == "CREATE_COMPLETE"
    assert described["ImageStats"] == {"Total": 36, "Labeled": 36, "Normal": 24, "Anomaly": 12}

    model = train(lookout, "plates", Description="first", Tags=[{"Key": "line", "Value": "3"}])
    assert model["Status"] == "TRAINED", model["StatusMessage"]
    assert model["StatusMessage"] == "Training completed successfully."
    assert model["Performance"]["F1Score"] >= 0.8
    assert model["OutputConfig"] == {"S3Location": {"Bucket": BUCKET, "Prefix": "evaluation/"}}
    assert model["EvaluationResult"]["Key"] == "evaluation/EvaluationResult-plates-1.json"
    result, lines = evaluation(service, model)
    details = result["EvaluationDetails"]
    assert (details["NumberOfTrainingImages"], details["NumberOfTestingImages"]) == (29, 7)
    assert len(lines) == 7
    assert result["AggregatedEvaluationResults"]["Metrics"]["F1Score"] == pytest.approx(
        model["Performance"]["F1Score"], abs=1e-6
    )

    assert host(lookout, "plates")["Status"] == "HOSTED"
    unseen = render_parts(service, "unseen", normal=6, anomaly=6, seed=2, masks=False)
    right = 0
    for key, defect in unseen.items():
        answer = detect(lookout, "plates", service.bucket(BUCKET) / key)
        right += answer["IsAnomalous"] == (defect is not None)
        assert 0.5 <= answer["Confidence"] <= 1
        assert answer["Source"] == {"Type": "direct"}
        _check_mask(answer, (WIDTH, HEIGHT))
    assert right >= 10, f"{right} of 12 decisions on unseen parts are right"

    lookout.stop_model(ProjectName="plates", ModelVersion="1")
    assert wait_for_model(lookout, "plates")["Status"] == "TRAINED"
    with pytest.raises(lookout.exceptions.ConflictException):
        detect(lookout, "plates", service.bucket(BUCKET) / next(iter(unseen)))
    lookout.delete_model(ProjectName="plates", ModelVersion="1")
    wait_until(lambda: not lookout.list_models(ProjectName="plates")["Models"], 30, "the model to be deleted")
    lookout.delete_dataset(ProjectName="plates", DatasetType="train")
    lookout.delete_project(ProjectName="plates")
    assert lookout.list_projects()["Projects"] == []


def test_classification_with_a_test_set_updates_and_padim(service: Service, lookout: Any) -> None:
    images = render_parts(service, "cls", normal=14, anomaly=0, seed=3, masks=False)
    tests = render_parts(service, "cls-test", normal=10, anomaly=10, seed=4, masks=False)
    lookout.create_project(ProjectName="cls")
    lookout.create_dataset(ProjectName="cls", DatasetType="train")
    lookout.update_dataset_entries(ProjectName="cls", DatasetType="train", Changes=manifest(images, masks=False))
    assert wait_for_dataset(lookout, "cls")["Status"] == "UPDATE_COMPLETE"
    create_project(lookout, service, "cls", manifest(tests, masks=False), "test")

    for version, detector in (("1", "patchcore"), ("2", "padim")):
        model = train(lookout, "cls", Tags=[{"Key": "vigil:detector", "Value": detector}])
        assert (model["Status"], model["ModelVersion"]) == ("TRAINED", version), model["StatusMessage"]
        result, lines = evaluation(service, model)
        assert result["EvaluationDetails"]["NumberOfTrainingImages"] == 14
        assert len(lines) == 20
        assert list(result["AggregatedEvaluationResults"]["Metrics"]) == [
            "ROCAUC",
            "AveragePrecision",
            "Precision",
            "Recall",
            "F1Score",
        ]
        assert host(lookout, "cls", version)["Status"] == "HOSTED"
        answer = detect(lookout, "cls", service.bucket(BUCKET) / next(iter(tests)), version)
        assert set(answer) == {"Source", "IsAnomalous", "Confidence"}
    assert [m["ModelVersion"] for m in lookout.list_models(ProjectName="cls")["Models"]] == ["2", "1"]
    for version in ("1", "2"):
        lookout.stop_model(ProjectName="cls", ModelVersion=version)
        assert wait_for_model(lookout, "cls", version)["Status"] == "TRAINED"


def test_training_names_the_images_it_cannot_use(service: Service, lookout: Any) -> None:
    images = render_parts(service, "broken", normal=20, anomaly=10, seed=5, masks=False)
    folder = service.bucket(BUCKET) / "broken"
    (folder / "003.png").unlink()
    (folder / "007.png").write_bytes((folder / "007.png").read_bytes()[:500])
    (folder / "011.png").write_bytes(b"GIF89a")
    create_project(lookout, service, "broken", manifest(images, masks=False))
    model = train(lookout, "broken")
    assert model["Status"] == "TRAINING_FAILED"
    for name in ("003.png", "007.png", "011.png"):
        assert name in model["StatusMessage"]
    lookout.delete_model(ProjectName="broken", ModelVersion="1")
    wait_until(lambda: not lookout.list_models(ProjectName="broken")["Models"], 30, "the model to be deleted")


def test_manifests_that_cannot_be_used_change_nothing(service: Service, lookout: Any) -> None:
    good = b'{"source-ref":"s3://line-3/a.png"}\n'
    described = create_project(lookout, service, "refused", good + b"not json\n")
    assert described["Status"] == "CREATE_FAILED"
    assert "line 2" in described["StatusMessage"]
    lookout.delete_dataset(ProjectName="refused", DatasetType="train")
    lookout.create_dataset(ProjectName="refused", DatasetType="train")
    for changes, status, total in (
        (good, "UPDATE_COMPLETE", 1),
        (
            b'{"source-ref":"s3://line-3/b.png"}\n{"source-ref":"s3://elsewhere/c.png"}',
            "UPDATE_FAILED_ROLLBACK_COMPLETE",
            1,
        ),
        (b'{"source-ref":"s3://line-3/b.png"}', "UPDATE_COMPLETE", 2),
    ):
        lookout.update_dataset_entries(ProjectName="refused", DatasetType="train", Changes=changes)
        described = wait_for_dataset(lookout, "refused")
        assert (described["Status"], described["ImageStats"]["Total"]) == (status, total)
    entries = lookout.list_dataset_entries(ProjectName="refused", DatasetType="train")["DatasetEntries"]
    assert entries == [good.decode().strip(), '{"source-ref":"s3://line-3/b.png"}']


def _check_mask(answer: dict[str, Any], size: tuple[int, int]) -> None:
    mask = Image.open(io.BytesIO(answer["AnomalyMask"]))
    assert (mask.format, mask.mode, mask.size) == ("PNG", "RGB", size)
    pixels = np.asarray(mask).reshape(-1, 3)
    areas = {entry["Name"]: entry["PixelAnomaly"] for entry in answer["Anomalies"]}
    assert answer["Anomalies"][0]["Name"] == "background"
    assert areas["background"]["Color"] == "#FFFFFF"
    assert set(areas) <= {"background", "defect"}
    assert sum(area["TotalPercentageArea"] for area in areas.values()) == pytest.approx(1)
    white = (pixels == 255).all(axis=1).mean()
    assert areas["background"]["TotalPercentageArea"] == pytest.approx(white, abs=1e-6)
    if "defect" in areas:
        assert areas["defect"]["Color"] == "#2CA02C"
        assert (pixels == (0x2C, 0xA0, 0x2C)).all(axis=1).mean() == pytest.approx(
            areas["defect"]["TotalPercentageArea"], abs=1e-6
        )
