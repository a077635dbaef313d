"""Vigil itself: trained as the trainer trains, asked as a replica asks."""

import time
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from gpu.backbone import STAGES, Backbone, load_backbone
from gpu.device import deterministic, select_device
from gpu.images import prepare
from gpu.inspection import Inspector
from storage.objects import Objects
from storage.options import TrainingOptions
from storage.settings import Settings
from tests.benchmarks.arrangement import Arrangement
from tests.benchmarks.datasets import Photo
from tests.benchmarks.photographs import LIMITS, Photographs
from tests.benchmarks.verdicts import Verdicts
from trainer.dataset import Sample
from trainer.fit import Fit, Fitting
from trainer.reading import Progress, Reading

_BATCH = 8


def run_own(arrangement: Arrangement, labelled: int, options: TrainingOptions, weights: Path | None) -> Verdicts:
    """Train on the good photographs and the first `labelled` bad ones, then judge. The time is that of the training.

    The photographs to judge are not there while it trains. Raises what a training raises.
    """
    backbone = load_backbone(options.backbone, weights, device=select_device(), layers=STAGES)
    started = time.perf_counter()
    fit = _train(arrangement, labelled, options, backbone)
    inspector = fit.inspector
    seconds = time.perf_counter() - started
    found = [
        inspection
        for start in range(0, len(arrangement.test), _BATCH)
        for inspection in inspector.inspect(prepared(inspector, arrangement.test[start : start + _BATCH]))
    ]
    return Verdicts(
        [one.score for one in found],
        [one.is_anomalous for one in found],
        inspector.calibration.threshold,
        [one.anomaly_map for one in found],
        seconds,
        inspector.input_size,
        fit.choice.candidate.name,
        [one.probability for one in found],
    )


def train(
    objects: Objects,
    samples: Sequence[Sample],
    test: Sequence[Sample],
    options: TrainingOptions,
    backbone: Backbone,
    progress: Progress,
) -> Fit:
    """Train as the trainer does, with the settings of the environment; nothing is stored. Raises what it raises."""
    settings = Settings(data_dir=Path("/nonexistent"))  # none of what it keeps is read or written
    settings = settings.model_copy(
        update={
            "max_image_bytes": LIMITS.max_bytes,
            "min_image_side": LIMITS.min_side,
            "max_image_side": LIMITS.max_side,
        }
    )
    reading = Reading(objects, [*samples, *test], settings, progress)
    with deterministic(options.seed):
        fitting = Fitting(
            reading, backbone, options, progress, settings.training_memory_gib, settings.selection_spending
        )
        return fitting.fit(samples, test)


def _train(arrangement: Arrangement, labelled: int, options: TrainingOptions, backbone: Backbone) -> Fit:
    shown = [*arrangement.train, *arrangement.labelled[:labelled]]
    photographs = Photographs(shown)
    return train(photographs, photographs.samples(shown), [], options, backbone, silent)


def prepared(inspector: Inspector, photos: Sequence[Photo]) -> list[Tensor]:
    """The photographs at the input size (H, W), uint8 (3, H, W) each, as a replica prepares them."""
    return [prepare(photo.path.read_bytes(), inspector.input_size, LIMITS)[0] for photo in photos]


def silent(_phase: str, _fraction: float) -> None:
    """For a training of which nobody wants to know how far it is."""
