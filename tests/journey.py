"""The steps of the main job through AWS's client, and image sets to do it with."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from api.cli.parts import DEFECTS, render_part
from storage.manifest import Mask, label_line
from tests.conftest import wait_until
from tests.service import Service

BUCKET = "line-3"
WORKING = {"CREATE_IN_PROGRESS", "UPDATE_IN_PROGRESS", "TRAINING", "STARTING_HOSTING", "STOPPING_HOSTING", "DELETING"}


def render_parts(
    service: Service, prefix: str, *, normal: int, anomaly: int, seed: int, masks: bool
) -> dict[str, str | None]:
    """Put rendered parts (and the masks of their defects) into the bucket. → key of each image: its defect or None"""
    random = np.random.default_rng(seed)
    folder = service.bucket(BUCKET) / prefix
    folder.mkdir(parents=True, exist_ok=True)
    kinds = [None] * normal + [list(DEFECTS)[i % len(DEFECTS)] for i in range(anomaly)]
    made: dict[str, str | None] = {}
    for number, defect in enumerate(kinds):
        part = render_part(random, defect)
        part.image.save(folder / f"{number:03}.png")
        if masks and part.mask is not None:
            coloured = np.where(np.asarray(part.mask)[..., None] > 0, np.uint8([44, 160, 44]), np.uint8(0))
            Image.fromarray(coloured).save(folder / f"{number:03}-mask.png")
        made[f"{prefix}/{number:03}.png"] = defect
    return made


def manifest(images: Mapping[str, str | None], *, masks: bool) -> bytes:
    """A manifest of rendered parts, as a labelling tool would write it."""
    created = datetime.now(UTC).isoformat()
    lines = []
    for key, defect in images.items():
        mask = None
        if masks and defect:
            mask = Mask(f"s3://{BUCKET}/{key.removesuffix('.png')}-mask.png", {"defect": "#2CA02C"})
        lines.append(label_line(f"s3://{BUCKET}/{key}", "anomaly" if defect else "normal", created, mask))
    return "\n".join(lines).encode()


def wait_for_dataset(lookout: Any, project: str, type_: str = "train", seconds: float = 120) -> dict[str, Any]:
    """The data set's description once it is neither created nor updated any more."""

    def look() -> Any:
        found = lookout.describe_dataset(ProjectName=project, DatasetType=type_)["DatasetDescription"]
        return None if found["Status"] in WORKING else found

    described: dict[str, Any] = wait_until(look, seconds, f"the {type_} data set of {project}")
    return described


def wait_for_model(lookout: Any, project: str, version: str = "1", seconds: float = 240) -> dict[str, Any]:
    """The model's description once it is in a state that lasts."""

    def look() -> Any:
        found = lookout.describe_model(ProjectName=project, ModelVersion=version)["ModelDescription"]
        return None if found["Status"] in WORKING else found

    described: dict[str, Any] = wait_until(look, seconds, f"version {version} of {project}")
    return described


def create_project(lookout: Any, service: Service, project: str, lines: bytes, type_: str = "train") -> dict[str, Any]:
    """A project with a data set from a manifest in the bucket. → the data set's description"""
    if type_ == "train":
        lookout.create_project(ProjectName=project)
    key = f"{project}-{type_}.manifest"
    (service.bucket(BUCKET) / key).write_bytes(lines)
    source = {"GroundTruthManifest": {"S3Object": {"Bucket": BUCKET, "Key": key}}}
    lookout.create_dataset(ProjectName=project, DatasetType=type_, DatasetSource=source)
    return wait_for_dataset(lookout, project, type_)


def train(lookout: Any, project: str, **options: Any) -> dict[str, Any]:
    """Train the next version. → its description once it is trained or has failed"""
    output = {"S3Location": {"Bucket": BUCKET, "Prefix": "evaluation/"}}
    made = lookout.create_model(ProjectName=project, OutputConfig=output, **options)["ModelMetadata"]
    return wait_for_model(lookout, project, made["ModelVersion"])


def host(lookout: Any, project: str, version: str = "1", units: int = 1) -> dict[str, Any]:
    """Start a model. → its description once it is hosted or has failed"""
    lookout.start_model(ProjectName=project, ModelVersion=version, MinInferenceUnits=units)
    return wait_for_model(lookout, project, version)


def detect(lookout: Any, project: str, image: Path, version: str = "1") -> dict[str, Any]:
    """What the model says about an image file."""
    kind = "image/png" if image.suffix == ".png" else "image/jpeg"
    answer = lookout.detect_anomalies(
        ProjectName=project, ModelVersion=version, Body=image.read_bytes(), ContentType=kind
    )
    result: dict[str, Any] = answer["DetectAnomalyResult"]
    return result


def evaluation(service: Service, described: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The evaluation result and the lines of the evaluation manifest of a trained model."""
    result, lines = (
        (service.bucket(described[name]["Bucket"]) / described[name]["Key"]).read_text()
        for name in ("EvaluationResult", "EvaluationManifest")
    )
    return json.loads(result), [json.loads(line) for line in lines.splitlines()]
