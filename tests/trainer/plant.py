"""A small plant for the tests: rendered parts with scratches and dents, and the stores they go into."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from storage.jobs import TRAIN
from storage.manifest import Mask, label_line
from storage.objects import OWN_BUCKET, snapshot_key
from storage.records import Entry, Model, ModelStatus, now
from storage.settings import Settings
from storage.stores import Stores, open_stores

BUCKET = "plant"
WIDTH, HEIGHT = 96, 64
COLOURS = {"scratch": "#2CA02C", "dent": "#1f77b4"}


def settings(directory: Path, **changes: object) -> Settings:
    """Fast and small: short leases, few images. Processes get the same through `environment`."""
    values: dict[str, object] = {
        "data_dir": directory,
        "min_normal_images": 4,
        "min_anomaly_images": 2,
        "min_normal_images_with_test": 4,
        "min_test_images": 1,
        "lease_seconds": 3.0,
        "heartbeat_seconds": 0.3,
        "reap_seconds": 0.2,
        "reconcile_seconds": 0.1,
        "host_id": "press-shop",
        "max_image_side": 512,
    }
    return Settings(**(values | changes))  # type: ignore[arg-type]


def environment(chosen: Settings) -> dict[str, str]:
    """The settings as variables for a process of the service."""
    given = chosen.model_dump(exclude_unset=True, exclude_none=True)
    return {f"VIGIL_{name.upper()}": str(value) for name, value in given.items()} | {"OMP_NUM_THREADS": "1"}


def part(seed: int, defect: str | None = None, size: tuple[int, int] = (WIDTH, HEIGHT)) -> tuple[bytes, bytes]:
    """A brushed metal part as PNG, and its mask: black, the defect in its colour."""
    random = np.random.default_rng(seed)
    width, height = size
    brushed = 130 + random.normal(0, 6, (height, 1)) + random.normal(0, 3, (height, width))
    image = Image.fromarray(np.repeat(brushed.clip(0, 255).astype(np.uint8)[:, :, None], 3, axis=2))
    mask = Image.new("RGB", size)
    x, y = int(random.integers(20, width - 40)), int(random.integers(16, height - 30))
    if defect == "scratch":
        line = (x, y, x + 26, y + 14)
        ImageDraw.Draw(image).line(line, fill=(250, 250, 240), width=5)
        ImageDraw.Draw(mask).line(line, fill=COLOURS["scratch"], width=5)
    elif defect == "dent":
        box = (x, y, x + 18, y + 18)
        ImageDraw.Draw(image).ellipse(box, fill=(30, 20, 60))
        ImageDraw.Draw(mask).ellipse(box, fill=COLOURS["dent"])
    return png(image), png(mask)


def png(image: Image.Image) -> bytes:
    """An image as PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


@dataclass
class Plant:
    """Stores with a project in them; puts images, manifests and trainings there."""

    directory: Path
    changes: Mapping[str, object] = field(default_factory=dict)
    project: str = "press"

    def __post_init__(self) -> None:
        self.settings = settings(self.directory, **self.changes)
        self.stores: Stores = open_stores(self.settings)
        if not self.stores.catalogue.projects():
            self.stores.catalogue.create_project(self.project)

    def put_image(self, key: str, data: bytes) -> str:
        """→ its source-ref"""
        self.stores.objects.put(BUCKET, key, data)
        return f"s3://{BUCKET}/{key}"

    def render(
        self, normal: int, anomaly: int, *, masks: bool = False, start: int = 0, name: str = "part"
    ) -> list[str]:
        """Put rendered parts into the store → their manifest lines, normal ones first."""
        lines = []
        for number in range(normal):
            image, _ = part(start + number)
            lines.append(line(self.put_image(f"{name}/normal-{number}.png", image), "normal"))
        for number in range(anomaly):
            defect = ("scratch", "dent")[number % 2]
            image, mask = part(start + 1000 + number, defect)
            reference = self.put_image(f"{name}/{defect}-{number}.png", image)
            drawn = Mask(self.put_image(f"{name}/mask-{number}.png", mask), {defect: COLOURS[defect]})
            lines.append(line(reference, "anomaly", drawn if masks else None))
        return lines

    def create_model(
        self, train: list[str], test: list[str] | None = None, kms_key_id: str | None = None, **options: str
    ) -> tuple[Model, str]:
        """What CreateModel leaves behind: snapshots, a model in training, and a job → (model, job id)"""
        catalogue = self.stores.catalogue
        tags = {f"vigil:{name.replace('_', '-')}": value for name, value in ({"image_size": "64"} | options).items()}
        with self.stores.database.transaction():
            version = catalogue.next_version(self.project)
            payload: dict[str, object] = {"project": self.project, "version": version}
            for what, lines in (("train", train), ("test", test)):
                key = snapshot_key(self.project, version, what)
                payload[what] = None if lines is None else key
                if lines is not None:
                    self.stores.objects.put(OWN_BUCKET, key, "".join(f"{text}\n" for text in lines).encode())
            model = Model(
                self.project,
                version,
                ModelStatus.TRAINING,
                "The model is being trained.",
                now(),
                output_bucket="results",
                output_prefix="out/",
                kms_key_id=kms_key_id,
                options=tags,
            )
            catalogue.create_model(model, {})
            job = self.stores.jobs.submit(TRAIN, payload)
        return model, job

    def model(self, version: int = 1) -> Model:
        """The model as the catalogue has it now."""
        return self.stores.catalogue.model(self.project, version)


def line(reference: str, label: str | None, mask: Mask | None = None) -> str:
    """A manifest line."""
    return label_line(reference, label, "2024-05-06T07:08:09.000", mask)


def entry(reference: str, label: str | None) -> Entry:
    """An entry of a data set."""
    return Entry(reference, line(reference, label), label)


def labels_of(text: bytes) -> list[dict[str, object]]:
    """The lines of a JSON Lines file."""
    return [json.loads(row) for row in text.decode().splitlines()]
