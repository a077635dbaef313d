"""Many large images: memory under a budget, and how the time of each phase grows with their number."""

from pathlib import Path
from typing import Any

import numpy as np
import psutil

from gpu.backbone import STAGES, load_backbone
from gpu.memory_plan import MemoryNeeded
from storage.options import TrainingOptions
from storage.settings import Settings
from tests.benchmarks.own import silent, train
from tests.benchmarks.speed.context import Context
from tests.benchmarks.speed.processes import run_own
from tests.benchmarks.speed.rendered import Rendered, render_bases
from tests.benchmarks.speed.stopwatch import Stopwatch
from tests.benchmarks.usage import Meter, memory
from trainer.evaluation import metrics

RATIO, BUDGET = 0.001, 4.0  # GiB
_WARM = 16  # images of the training before the one that is timed
GIBIBYTE = 2**30
_FREE = 0.9  # of the free memory: what "no budget" means, since without a setting a training takes less than that
_AT_ONCE = "at once"  # of what a training tells of its memory
_BUDGET_SETTING = "training_memory_gib"
_VARIABLE = f"VIGIL_{_BUDGET_SETTING.upper()}"


def measure_memory(context: Context) -> dict[str, Any]:
    """With the budget, and with all memory that is free; where that holds not all images at once, both with fewer.

    Raises RuntimeError where this version knows no budget.
    """
    if _BUDGET_SETTING not in Settings.model_fields:
        raise RuntimeError(f"this version of Vigil has no setting {_VARIABLE}, so no budget can be measured")
    scale, runs = context.scale, []
    for count in (scale.volume_images, scale.paired_images):
        for bounded in (True, False):
            budget = BUDGET if bounded else _FREE * psutil.virtual_memory().available / GIBIBYTE
            found = run_own("volume", _job(context) | {"images": count}, {_VARIABLE: f"{budget:.1f}"})
            runs.append({"images": count, "budget": budget, "bounded": bounded} | found)
        if _AT_ONCE in runs[-1].get("plan", ""):
            break
    return {"side": scale.side, "size": context.size, "ratio": RATIO, "tests": 2 * scale.rendered_tests, "runs": runs}


def measure_growth(context: Context) -> dict[str, Any]:
    """Trainings of growing numbers of images, in turn."""
    scale = context.scale
    runs = [
        run_own("growth", _job(context) | {"images": count})
        for _ in range(scale.rounds)
        for count in scale.growth_images
    ]
    return {"side": scale.side, "size": context.size, "ratio": RATIO, "tests": 2 * scale.rendered_tests, "runs": runs}


def make_bases(job: dict[str, Any]) -> dict[str, Any]:
    """What the images are made of, as a file."""
    render_bases(Path(job["bases"]), job["count"], job["side"])
    return {}


def train_on_rendered(job: dict[str, Any]) -> dict[str, Any]:
    """Peak memory, AUROC and time of one training; or why it was refused.

    The images are made while they are read; `making` are the CPU seconds of that, which `cpu` contains.
    """
    rendered, options, backbone = _prepared(job)
    told = ""

    def progress(phase: str, _fraction: float) -> None:
        nonlocal told
        told = told or phase.partition(" (")[2].removesuffix(")")

    empty, meter = memory("VmRSS"), Meter()
    try:
        fit = train(rendered, *_samples(rendered, job), options, backbone, progress)
    except MemoryNeeded as error:
        return {"refused": str(error)}
    auroc = metrics(fit.judged)["ROCAUC"]
    return meter.read() | {"empty": empty, "making": rendered.making, "auroc": auroc, "plan": told}


def time_phases(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds by phase of one training; the images are made before.

    A small training comes first, so that what is loaded once only does not count as time of each image.
    """
    rendered, options, backbone = _prepared(job)
    samples, test = _samples(rendered, job)
    rendered.make([*samples, *test])
    train(rendered, samples[:_WARM], [test[0], test[-1]], options, backbone, silent)
    watch, meter = Stopwatch(), Meter()
    with watch.running():
        train(rendered, samples, test, options, backbone, watch.progress)
    used = meter.read() | {"phases": dict(watch.seconds)}
    return used | {"images": len(samples), "tests": len(test), "making": rendered.making}


def _job(context: Context) -> dict[str, Any]:
    bases, scale = context.work / "bases.npy", context.scale
    if not bases.exists():
        run_own("bases", {"bases": str(bases), "count": scale.bases, "side": scale.side})
    return {
        "bases": str(bases),
        "weights": str(context.weights),
        "size": context.size,
        "ratio": RATIO,
        "tests": scale.rendered_tests,
    }


def _prepared(job: dict[str, Any]) -> tuple[Rendered, TrainingOptions, Any]:
    rendered = Rendered(np.load(job["bases"]))
    options = TrainingOptions(
        detector="patchcore", backbone="resnet18", image_size=job["size"], coreset_ratio=job["ratio"]
    )
    return rendered, options, load_backbone("resnet18", Path(job["weights"]), layers=STAGES)


def _samples(rendered: Rendered, job: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Normal images to learn from; those to judge have other numbers."""
    count, tests = job["images"], job["tests"]
    test = [*rendered.samples(count, tests), *rendered.samples(count, tests, bad=True)]
    return rendered.samples(0, count), test
