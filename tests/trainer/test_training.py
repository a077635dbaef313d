"""Trainings from the snapshot to the commit, on rendered parts."""

import json
import logging
from dataclasses import replace
from typing import Any

import pytest

from gpu.backbone import load_backbone
from storage.errors import Superseded
from storage.objects import OWN_BUCKET, snapshot_key
from storage.records import Job, ModelStatus
from tests.trainer.plant import COLOURS, Plant, labels_of
from trainer import training


def train(plant: Plant, id_: str) -> Job:
    job = plant.stores.jobs.claim(id_)
    assert job is not None
    training.run(job, plant.stores)
    return job


def result(plant: Plant, version: int = 1) -> dict[str, dict[str, dict[str, object]]]:
    stored = plant.model(version).evaluation_result
    assert stored is not None
    content: dict[str, dict[str, dict[str, object]]] = json.loads(plant.stores.objects.get(stored.bucket, stored.key))
    return content


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("detector", ["patchcore", "padim", "ensemble"])
def test_one_data_set(plant: Plant, detector: str, masks: bool) -> None:
    job = train(plant, plant.create_model(plant.render(20, 10, masks=masks), detector=detector)[1])
    model = plant.model()
    assert (model.status, model.message) == ("TRAINED", "Training completed successfully.")
    assert model.performance is not None
    assert model.performance.f1 >= 0.8
    assert not plant.stores.jobs.keep(job)
    details = result(plant)["EvaluationDetails"]
    assert (details["NumberOfTrainingImages"], details["NumberOfTestingImages"]) == (24, 6)
    figures = result(plant)["AggregatedEvaluationResults"]["Metrics"]
    assert ("PixelAnomalyClassMetrics" in figures) == masks
    assert model.evaluation_result is not None
    assert model.evaluation_result.key == "out/EvaluationResult-press-1.json"
    assert model.evaluation_manifest is not None
    assert model.evaluation_manifest.key == "out/EvaluationManifest-press-1.json"
    lines = labels_of(plant.stores.objects.get("results", model.evaluation_manifest.key))
    assert sorted(str(line["anomaly-label"]) for line in lines) == ["0"] * 4 + ["1"] * 2


def test_candidates_are_compared_and_told(plant: Plant) -> None:
    digests = []
    for _ in range(2):
        model, id_ = plant.create_model(plant.render(26, 13), detector="auto", image_size="96")
        train(plant, id_)
        artefact = plant.model(model.version).artefact
        assert artefact is not None
        digests.append(artefact.sha256)
        told = result(plant, model.version)["VigilEvaluation"]["Candidates"]
        assert isinstance(told, list)
        assert [row["Candidate"] for row in told] == [
            "ensemble, layer1+layer2+layer3, 96 px, stride 8",
            "patchcore, layer1+layer2+layer3, 96 px, stride 8",
            "padim, layer1+layer2+layer3, 96 px, stride 8",
            "patchcore, layer1+layer2+layer3, 96 px, stride 8, whitened",
            "patchcore, layer1+layer2+layer3, 96 px, stride 4",
        ]
        assert sum(row["Chosen"] for row in told) == 1
        assert all(0.5 <= row["ROCAUC"] <= 1 for row in told)
    assert digests[0] == digests[1], "the same images and seed give the same model"


def test_a_named_detector_few_images_or_no_spending_compare_nothing(plant: Plant) -> None:
    train(plant, plant.create_model(plant.render(20, 10), detector="padim")[1])
    assert result(plant)["VigilEvaluation"]["Candidates"] == []
    train(plant, plant.create_model(plant.render(23, 10))[1])
    assert result(plant, 2)["VigilEvaluation"]["Candidates"] == []
    plant.stores = replace(plant.stores, settings=plant.stores.settings.model_copy(update={"selection_spending": 0.0}))
    train(plant, plant.create_model(plant.render(26, 10))[1])
    assert result(plant, 3)["VigilEvaluation"]["Candidates"] == []


def test_two_data_sets_are_not_split_and_need_no_anomalies_to_train(plant: Plant) -> None:
    test = plant.render(5, 5, start=500, name="test")
    train(plant, plant.create_model(plant.render(16, 0), test)[1])
    assert plant.model().status == ModelStatus.TRAINED
    details = result(plant)["EvaluationDetails"]
    assert (details["NumberOfTrainingImages"], details["NumberOfTestingImages"]) == (16, 10)


def test_test_images_have_no_part_in_the_model(plant: Plant) -> None:
    learned = plant.render(16, 6)
    artefacts = set()
    for version, test in enumerate((plant.render(5, 5, start=500, name="one"), plant.render(9, 3, start=900)), 1):
        train(plant, plant.create_model(learned, test)[1])
        artefact = plant.model(version).artefact
        assert artefact is not None
        artefacts.add(artefact.sha256)
    assert len(artefacts) == 1


@pytest.mark.parametrize("detector", ["patchcore", "padim", "ensemble"])
def test_same_seed_same_artefact(plant: Plant, detector: str) -> None:
    lines, artefacts = plant.render(8, 4, masks=True), []
    for version, seed in enumerate(("7", "7", "8"), 1):
        train(plant, plant.create_model(lines, detector=detector, seed=seed)[1])
        artefact = plant.model(version).artefact
        assert artefact is not None
        artefacts.append(artefact.sha256)
    assert artefacts[0] == artefacts[1] != artefacts[2]


def test_artefact_serves_the_labels_of_the_masks(plant: Plant) -> None:
    from gpu import artefact

    train(plant, plant.create_model(plant.render(16, 8, masks=True))[1])
    stored = plant.model().artefact
    assert stored is not None
    inspector, references = artefact.load(plant.stores.objects.get(OWN_BUCKET, stored.key), load_backbone)
    assert inspector.defect_bank is not None
    assert dict(zip(inspector.defect_bank.names, inspector.defect_bank.colours, strict=True)) == COLOURS
    assert len(references.images) == 4
    assert inspector.self_test() < 1e-3


def test_refusals_end_with_a_message(plant: Plant) -> None:
    lines = plant.render(6, 4)
    plant.stores.objects.delete("plant", "part/normal-3.png")
    for version, (rows, options, reason) in enumerate(
        (
            (lines, {}, "s3://plant/part/normal-3.png"),
            (lines[:2], {}, "2 images labelled normal"),
            (lines, {"backbone": "resnet50"}, "resnet50"),
        ),
        1,
    ):
        job = train(plant, plant.create_model(rows, **options)[1])
        model = plant.model(version)
        assert model.status == ModelStatus.TRAINING_FAILED
        assert model.message.startswith("The training cannot be done. ")
        assert reason in model.message
        assert not plant.stores.jobs.keep(job)


def test_data_key_lost_before_or_during_the_training(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    lines, keys = plant.render(8, 4), plant.stores.data_keys
    train(plant, plant.create_model(lines, kms_key_id="alias/line-3")[1])
    path = keys.create("line-3")
    fit = training.Fitting.fit

    def lose(*arguments: Any) -> Any:
        path.unlink()
        return fit(*arguments)

    monkeypatch.setattr(training.Fitting, "fit", lose)
    train(plant, plant.create_model(lines, kms_key_id="alias/line-3")[1])
    for version in (1, 2):
        model = plant.model(version)
        assert model.status == ModelStatus.TRAINING_FAILED
        assert model.message == (
            f"The training cannot be done: there is no data key 'line-3': the file {path} does not exist. "
            "Put the file of the key back, then train again."
        )
        assert list(plant.stores.objects.keys(OWN_BUCKET, f"models/press/{version}/")) == [
            snapshot_key("press", version, "train")
        ]


def test_superseded_training_commits_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    short = {"lease_seconds": 0.1, "heartbeat_seconds": 0.01, "reconcile_seconds": 0.01}
    plant = Plant(tmp_path_factory.mktemp("late"), short)
    _, id_ = plant.create_model(plant.render(8, 4))
    late = plant.stores.jobs.claim(id_)
    assert late is not None
    newer = None
    while newer is None:
        newer = plant.stores.jobs.claim(id_)
    with pytest.raises(Superseded):
        training.run(late, plant.stores)
    assert plant.model().status == ModelStatus.TRAINING
    training.run(newer, plant.stores)
    artefact = plant.model().artefact
    assert artefact is not None
    assert artefact.key.startswith(f"models/press/1/{id_}-2/")
    plant.stores.database.close()


def test_progress_is_told(plant: Plant) -> None:
    model, _ = plant.create_model(plant.render(4, 2))
    progress = training.Progress(plant.stores, model)
    progress("Reading images", 0.4)
    progress("Reading images", 0.5)
    assert plant.model().message == "The model is being trained. Reading images, 40 %."


def test_the_memory_is_planned_and_told(plant: Plant, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "trainer.fit"):
        train(plant, plant.create_model(plant.render(16, 10))[1])
    assert " for patch embeddings, all 13 normal images at once" in caplog.text


def test_too_little_memory_is_said_before_it_is_taken(plant: Plant) -> None:
    little = plant.stores.settings.model_copy(update={"training_memory_gib": 0.001})
    plant.stores = replace(plant.stores, settings=little)
    train(plant, plant.create_model(plant.render(16, 10))[1])
    model = plant.model()
    assert model.status == ModelStatus.TRAINING_FAILED
    assert model.message.startswith("The training cannot be done. Training on 13 normal images needs ")
    assert "VIGIL_TRAINING_MEMORY_GIB" in model.message
