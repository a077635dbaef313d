"""States that tests begin with, written through storage: no trainer and no inference host runs here."""

import json
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.manifest import parse_line
from storage.records import DatasetStatus, Entry, Model, ModelStatus, Performance, Stored
from storage.stores import Stores

BUCKET = "plant"


def line(name: str, label: str | None = "normal", bucket: str = BUCKET) -> str:
    """A manifest line of an image."""
    content: dict[str, Any] = {"source-ref": f"s3://{bucket}/{name}"}
    if label is not None:
        content["quality"] = 1
        content["quality-metadata"] = {
            "class-name": label,
            "human-annotated": "yes",
            "type": "groundtruth/image-classification",
        }
    return json.dumps(content)


def entry(name: str, label: str | None = "normal", created: datetime | None = None) -> Entry:
    """An entry of a data set."""
    written = line(name, label)
    parsed = parse_line(written)
    return Entry(parsed.source_ref, written, parsed.label, False, created or datetime.now(UTC))


def fill(stores: Stores, project: str, entries: list[Entry], type_: str = "train") -> None:
    """Put entries into a data set that is there."""
    stores.catalogue.put_entries(stores.catalogue.dataset(project, type_), entries)


def images(normal: int, anomaly: int, unlabeled: int = 0) -> list[Entry]:
    """So many entries of each kind."""
    kinds = {"normal": normal, "anomaly": anomaly, None: unlabeled}
    return [entry(f"{label}-{n}.png", label) for label, count in kinds.items() for n in range(count)]


def trainable(stores: Stores, project: str) -> None:
    """Give the project a training data set that is large enough."""
    stores.catalogue.create_dataset(project, "train", DatasetStatus.CREATE_COMPLETE, "made")
    fill(stores, project, images(20, 10))


def model(stores: Stores, project: str, status: ModelStatus = ModelStatus.TRAINED, **values: Any) -> int:
    """A model version in this status. → its number"""
    version = stores.catalogue.next_version(project)
    if status not in (ModelStatus.TRAINING, ModelStatus.TRAINING_FAILED):
        values = {
            "performance": Performance(0.9, 0.8, 1.0),
            "evaluated": datetime(2024, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
            "evaluation_result": Stored("out", f"EvaluationResult-{project}-{version}.json", "0" * 64, 10),
            "evaluation_manifest": Stored("out", f"EvaluationManifest-{project}-{version}.json", "0" * 64, 10),
            "artefact": Stored("vigil", "models/detector.safetensors", "0" * 64, 10),
        } | values
    created = datetime(2024, 5, 6, 7, 0, 0, 250_000, tzinfo=UTC)
    stores.catalogue.create_model(Model(project, version, status, "arranged", created, "out", **values), {})
    return version


def jobs(stores: Stores, kind: str, **about: Any) -> list[dict[str, Any]]:
    """What the jobs of this kind are to do, where their payload says this."""
    query = sa.select(schema.job.c.payload).where(schema.job.c.kind == kind).order_by(schema.job.c.created)
    with stores.database.reading() as connection:
        payloads = list(connection.scalars(query))
    return [payload for payload in payloads if about.items() <= payload.items()]


def hosted(stores: Stores, project: str, addresses: dict[str, str], units: int | None = None) -> int:
    """A HOSTED model whose replicas (name → address) take requests. → its version"""
    version = model(stores, project)
    stores.hosting.start(stores.catalogue.model(project, version), units or len(addresses), None)
    host = f"host-of-{project}"
    held = stores.hosting.claim(host, 1000)
    held = [unit for unit in held if unit.project == project]
    for unit, (replica, address) in zip(held, addresses.items(), strict=False):
        stores.hosting.ready(host, unit, replica, address)
    return version
