"""Images per second, from a large JPEG file to its score: as a replica does it, and as anomalib's inferencer."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor

from gpu import images
from inference.batcher import LARGEST_BATCH
from tests.benchmarks.photographs import LIMITS
from tests.benchmarks.speed.context import Context
from tests.benchmarks.speed.processes import run_baseline, run_own
from tests.benchmarks.speed.training import RATIO, ensure_models, read_inspector
from tests.benchmarks.usage import Meter

BATCHES = (1, LARGEST_BATCH)
_WARM = 2  # calls before the timing
_THREADS = os.cpu_count() or 1  # that decode while a batch is scored, as in the only replica of a machine


def measure(context: Context) -> dict[str, Any]:
    """Every batch size, in turn."""
    ensure_models(context)
    photos = context.enlarged()
    files = [photos.test[number % len(photos.test)] for number in range(context.scale.scored_images)]
    rows = []
    for batch in BATCHES:
        ours, theirs = [], []
        for _ in range(context.scale.rounds):
            job = {"files": files, "batch": batch, "warm": _WARM}
            own = {"model": str(context.models["ours"]), "weights": str(context.weights)}
            ours.append(run_own("score", job | own))
            if context.anomalib:
                model = str(context.models["baseline"].absolute())
                absolute = [str(Path(path).absolute()) for path in files]
                theirs.append(run_baseline(context.anomalib, "scoring", job | {"model": model, "files": absolute}))
        rows.append({"batch": batch, "ours": ours, "baseline": theirs})
    return {"side": context.scale.side, "size": context.size, "ratio": RATIO, "images": len(files), "batches": rows}


def score(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds in which files are read, decoded, resized and scored; those of a batch are decoded while another is."""
    inspector, batch, files = read_inspector(job), job["batch"], job["files"]
    groups = [files[start : start + batch] for start in range(0, len(files), batch)]

    def prepare(path: str) -> Tensor:
        return images.prepare(Path(path).read_bytes(), inspector.input_size, LIMITS)[0]

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="decode") as pool:
        run = _alone if batch == 1 else _ahead(pool)
        run(groups[: job["warm"]], prepare, inspector.inspect)
        meter = Meter()
        run(groups, prepare, inspector.inspect)
        return meter.read() | {"images": len(files)}


Run = Callable[[list[list[str]], Callable[[str], Tensor], Callable[[list[Tensor]], Any]], None]


def _alone(groups: list[list[str]], prepare: Callable[[str], Tensor], inspect: Callable[[list[Tensor]], Any]) -> None:
    """As a replica that is asked one image after another: nothing to decode ahead."""
    for group in groups:
        inspect([prepare(path) for path in group])


def _ahead(pool: ThreadPoolExecutor) -> Run:
    """As a replica that is asked for many images at once."""

    def run(groups: list[list[str]], prepare: Callable[[str], Tensor], inspect: Callable[[list[Tensor]], Any]) -> None:
        following = [pool.submit(prepare, path) for path in groups[0]]
        for number in range(len(groups)):
            images = [future.result() for future in following]
            if number + 1 < len(groups):
                following = [pool.submit(prepare, path) for path in groups[number + 1]]
            inspect(images)

    return run
