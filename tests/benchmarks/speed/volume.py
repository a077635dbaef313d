"""Many large images: memory under a budget, and how the time of each phase grows with their number."""

from pathlib import Path
from typing import Any

import numpy as np

from gpu.backbone import load_backbone
from gpu.fitting import MemoryNeeded
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
_BUDGET_SETTING = "training_memory_gib"
_VARIABLE = f"VIGIL_{_BUDGET_SETTING.upper()}"


def measure_memory(context: Context) -> dict[str, Any]:
    """With the budget and without; where the machine is too small for the latter, both again with fewer images.

    Raises RuntimeError where this version knows no budget.
    """
    if _BUDGET_SETTING not in Settings.model_fields:
        raise RuntimeError(f"this version of Vigil has no setting {_VARIABLE}, so no budget can be measured")
    scale, runs = context.scale, []
    for count in (scale.volume_images, scale.paired_images):
        for budget in (BUDGET, None):
            settings = {_VARIABLE: None if budget is None else f"{budget:g}"}
            found = run_own("volume", _job(context) | {"images": count}, settings)
            runs.append({"images": count, "budget": budget} | found)
        if "refused" not in runs[-1]:
            break
    return {"side": scale.side, "size": context.size, "ratio": RATIO, "tests": 2 * scale.rendered_tests, "runs": runs}


def measure_growth(context: Context) -> dict[str, Any]:
    """One training each of growing numbers of images."""
    scale = context.scale
    runs = [run_own("growth", _job(context) | {"images": count}) for count in scale.growth_images]
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
    empty, meter = memory("VmRSS"), Meter()
    try:
        fit = train(rendered, *_samples(rendered, job), options, backbone, silent)
    except MemoryNeeded as error:
        return {"refused": str(error)}
    auroc = metrics(fit.judged)["ROCAUC"]
    return meter.read() | {"empty": empty, "making": rendered.making, "auroc": auroc}


def time_phases(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds by phase of one training; the images are made before."""
    rendered, options, backbone = _prepared(job)
    samples, test = _samples(rendered, job)
    rendered.make([*samples, *test])
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
    options = TrainingOptions(backbone="resnet18", image_size=job["size"], coreset_ratio=job["ratio"])
    return rendered, options, load_backbone("resnet18", Path(job["weights"]))


def _samples(rendered: Rendered, job: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    """Normal images to learn from; those to judge have other numbers."""
    count, tests = job["images"], job["tests"]
    test = [*rendered.samples(count, tests), *rendered.samples(count, tests, bad=True)]
    return rendered.samples(0, count), test
