"""Imports: all or nothing, and every refusal says where and why."""

import json

import pytest

from storage.jobs import IMPORT
from storage.objects import OWN_BUCKET, changes_key
from storage.records import Dataset, DatasetStatus, Job
from tests.trainer.plant import BUCKET, Plant, entry, line
from trainer import importing

MANIFEST = "manifests/press.manifest"


def create(plant: Plant, manifest: bytes | None, type_: str = "train") -> tuple[Dataset, Job]:
    if manifest is not None:
        plant.stores.objects.put(BUCKET, MANIFEST, manifest)
    dataset = plant.stores.catalogue.create_dataset(plant.project, type_, DatasetStatus.CREATE_IN_PROGRESS, "…")
    source = {"bucket": BUCKET, "key": MANIFEST, "version": None}
    id_ = plant.stores.jobs.submit(IMPORT, {"dataset": dataset.id, "source": source})
    job = plant.stores.jobs.claim(id_)
    assert job is not None
    return dataset, job


def update(plant: Plant, changes: bytes) -> tuple[Dataset, Job]:
    catalogue = plant.stores.catalogue
    dataset = catalogue.create_dataset(plant.project, "train", DatasetStatus.CREATE_COMPLETE, "…")
    catalogue.put_entries(dataset, [entry(f"s3://{BUCKET}/a.png", "normal"), entry(f"s3://{BUCKET}/b.png", "normal")])
    catalogue.move_dataset(dataset, DatasetStatus.UPDATE_IN_PROGRESS, "…")
    key = changes_key("1")
    plant.stores.objects.put(OWN_BUCKET, key, changes)
    job = plant.stores.jobs.claim(plant.stores.jobs.submit(IMPORT, {"dataset": dataset.id, "changes": key}))
    assert job is not None
    return dataset, job


def labels(plant: Plant, dataset: Dataset) -> dict[str, str | None]:
    return {e.source_ref: e.label for _, e in plant.stores.catalogue.entries(dataset)}


def finished(plant: Plant, job: Job) -> bool:
    return not plant.stores.jobs.keep(job)


def test_manifest_becomes_entries(plant: Plant) -> None:
    rows = [line(f"s3://{BUCKET}/{name}", label) for name, label in (("a", "normal"), ("b", "anomaly"), ("c", None))]
    dataset, job = create(plant, "\n".join(rows).encode())
    importing.run(job, plant.stores)
    found = plant.stores.catalogue.dataset(plant.project, "train")
    assert (found.status, found.message) == ("CREATE_COMPLETE", "The dataset was created successfully.")
    assert (found.counts.total, found.counts.labeled, found.counts.normal, found.counts.anomaly) == (3, 2, 1, 1)
    assert list(labels(plant, dataset).values()) == ["normal", "anomaly", None]
    assert finished(plant, job)


@pytest.mark.parametrize(
    ("manifest", "reasons"),
    [
        (None, [MANIFEST, "does not exist"]),
        (b"", ["no lines"]),
        (b"\n \n", ["no lines"]),
        (line(f"s3://{BUCKET}/a", "normal").encode() + b"\nnot json\n", ["line 2", "not JSON"]),
        (b'{"source-ref":"http://elsewhere/a"}', ["line 1", "s3://BUCKET/KEY"]),
        (b'{"x":1}', ["line 1", "source-ref"]),
        (b"\xff\xfe", ["line 1", "UTF-8"]),
        (b"x" * 9000, ["line 1", "8,192"]),
        (
            f"{line('s3://one-bucket/a', 'normal')}\n{line('s3://other-bucket/b', 'normal')}".encode(),
            ["line 2", "bucket"],
        ),
    ],
)
def test_refused_manifest_names_place_and_reason(plant: Plant, manifest: bytes | None, reasons: list[str]) -> None:
    dataset, job = create(plant, manifest)
    importing.run(job, plant.stores)
    found = plant.stores.catalogue.dataset(plant.project, "train")
    assert found.status == DatasetStatus.CREATE_FAILED
    assert all(reason in found.message for reason in reasons), found.message
    assert not labels(plant, dataset)
    assert finished(plant, job)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"max_training_images": 2}, "at most 2"), ({"max_manifest_bytes": 1024}, "MiB")],
)
def test_limits(tmp_path_factory: pytest.TempPathFactory, changes: dict[str, object], reason: str) -> None:
    plant = Plant(tmp_path_factory.mktemp("limits"), changes)
    rows = "\n".join(line(f"s3://{BUCKET}/{name}", "normal") for name in ("a", "b", "c", "d", "e", "f", "g", "h"))
    _, job = create(plant, rows.encode())
    importing.run(job, plant.stores)
    found = plant.stores.catalogue.dataset(plant.project, "train")
    assert found.status == DatasetStatus.CREATE_FAILED
    assert reason in found.message
    plant.stores.database.close()


def test_changes_replace_and_add(plant: Plant) -> None:
    rows = [line(f"s3://{BUCKET}/b.png", "anomaly"), line(f"s3://{BUCKET}/c.png", None)]
    dataset, job = update(plant, "\n".join(rows).encode())
    importing.run(job, plant.stores)
    assert plant.stores.catalogue.dataset(plant.project, "train").status == DatasetStatus.UPDATE_COMPLETE
    assert list(labels(plant, dataset).values()) == ["normal", "anomaly", None]
    assert plant.stores.objects.size(OWN_BUCKET, changes_key("1")) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [("{broken", "line 1"), (line("s3://elsewhere/x.png", "normal"), f"bucket '{BUCKET}'"), ("", "no lines")],
)
def test_refused_changes_leave_entries_as_they_were(plant: Plant, changes: str, reason: str) -> None:
    dataset, job = update(plant, f"{changes}\n{line(f's3://{BUCKET}/a.png', 'anomaly')}".encode() if changes else b"")
    before = labels(plant, dataset)
    importing.run(job, plant.stores)
    found = plant.stores.catalogue.dataset(plant.project, "train")
    assert found.status == DatasetStatus.UPDATE_FAILED_ROLLBACK_COMPLETE
    assert reason in found.message
    assert labels(plant, dataset) == before
    assert finished(plant, job)


def test_quota_counts_what_is_there(tmp_path_factory: pytest.TempPathFactory) -> None:
    plant = Plant(tmp_path_factory.mktemp("quota"), {"max_training_images": 2})
    dataset, job = update(plant, line(f"s3://{BUCKET}/a.png", "anomaly").encode())
    importing.run(job, plant.stores)
    assert labels(plant, dataset)[f"s3://{BUCKET}/a.png"] == "anomaly"
    plant.stores.catalogue.move_dataset(dataset, DatasetStatus.UPDATE_IN_PROGRESS, "…")
    key = changes_key("2")
    plant.stores.objects.put(OWN_BUCKET, key, line(f"s3://{BUCKET}/c.png", "normal").encode())
    again = plant.stores.jobs.claim(plant.stores.jobs.submit(IMPORT, {"dataset": dataset.id, "changes": key}))
    assert again is not None
    importing.run(again, plant.stores)
    found = plant.stores.catalogue.dataset(plant.project, "train")
    assert found.status == DatasetStatus.UPDATE_FAILED_ROLLBACK_COMPLETE
    assert "3 images" in found.message
    plant.stores.database.close()


def test_dataset_deleted_meanwhile(plant: Plant) -> None:
    _, job = create(plant, line(f"s3://{BUCKET}/a", "normal").encode())
    plant.stores.catalogue.delete_dataset(plant.project, "train")
    importing.run(job, plant.stores)
    assert finished(plant, job)
    assert not plant.stores.catalogue.datasets(plant.project)


def test_giving_up_tells_the_users(plant: Plant) -> None:
    _, job = create(plant, json.dumps({}).encode())
    importing.fail(job, plant.stores, "was interrupted 3 times")
    found = plant.stores.catalogue.dataset(plant.project, "train")
    assert (found.status, found.message) == ("CREATE_FAILED", "The import was interrupted 3 times")
