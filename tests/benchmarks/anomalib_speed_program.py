"""What anomalib's PatchCore takes of time and memory. Runs in an environment of its own, which knows nothing of Vigil.

`anomalib_speed_program.py PART FOLDER` reads job.json in the folder and writes answer.json there.
"""

import os
import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from anomalib.data import Folder
from anomalib.data.utils import read_image
from anomalib.deploy import TorchInferencer
from anomalib.engine import Engine
from anomalib.models import Patchcore
from anomalib.models.components.sampling.k_center_greedy import KCenterGreedy
from anomalib_program import load_backbone
from lightning import seed_everything
from safetensors.torch import load_file
from usage import Meter, answer, memory

_LOADERS = min(2, os.cpu_count() or 1)  # its own 8 would only get in each other's way on two cores


class TimedSelection(KCenterGreedy):
    """Its own loop; `moments` are those at which it begins a pick."""

    def __init__(self, embedding: torch.Tensor, sampling_ratio: float) -> None:
        super().__init__(embedding, sampling_ratio)
        self.moments: list[float] = []

    def update_distances(self, cluster_center: int | torch.Tensor | None) -> None:
        """The first thing that is done for a pick."""
        self.moments.append(time.perf_counter())
        super().update_distances(cluster_center)


def selection(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds that so many picks take after `warm` others; each pick costs the same, so that not all are needed.

    points: a file with (N, D) float32.
    """
    seed_everything(job["seed"])
    sampler = TimedSelection(load_file(job["points"])["points"], job["ratio"])
    sampler.coreset_size = job["warm"] + job["picks"] + 2  # the first pick costs nothing, and the last has no end
    sampler.select_coreset_idxs()
    seconds = sampler.moments[job["warm"] + job["picks"]] - sampler.moments[job["warm"]]
    return {
        "seconds": seconds,
        "picks": job["picks"],
        "dimensions": sampler.features.shape[1],
        "peak": memory("VmHWM"),
        "versions": versions(),
    }


def training(job: dict[str, Any]) -> dict[str, Any]:
    """Its Engine trains on a folder of images, read and resized by its own data path; then it judges the test images.

    The figures are of the training alone. Where `model` is given, the trained model is exported there.
    """
    seed_everything(job["seed"])
    meter = Meter()
    module = Patchcore(
        backbone="resnet18",
        pre_trained=False,
        coreset_sampling_ratio=job["ratio"],
        pre_processor=Patchcore.configure_pre_processor((job["size"], job["size"])),
        evaluator=False,
        visualizer=False,
    )
    load_backbone(module, Path(job["weights"]))
    data = Folder(
        name="photographs",
        normal_dir=job["folder"],
        test_split_mode="none",
        val_split_mode="none",
        num_workers=_LOADERS,
    )
    engine = Engine(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=Path.cwd())
    data.setup()
    engine.fit(module, train_dataloaders=data.train_dataloader())  # as a whole, it would want images to validate with
    used = meter.read()
    if job.get("model"):
        made = engine.export(module, "torch", export_root=Path.cwd())
        shutil.move(made, job["model"])
    module.eval()
    scores = []
    with torch.no_grad():
        for path in job["test"]:
            image = module.pre_processor(read_image(path, as_tensor=True)[None])
            scores.append(float(module.model(image).pred_score))
    return used | {"scores": scores, "bank": len(module.model.memory_bank), "versions": versions()}


def scoring(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds in which its inferencer reads and scores files, one by one or so many at a time."""
    os.environ["TRUST_REMOTE_CODE"] = "1"  # the model is of our own making
    inferencer, batch, files = TorchInferencer(job["model"], device="cpu"), job["batch"], job["files"]
    groups = [files[start : start + batch] for start in range(0, len(files), batch)]

    def score(group: list[str]) -> None:
        if batch == 1:
            inferencer.predict(group[0])
        else:
            inferencer.predict(torch.stack([read_image(path, as_tensor=True) for path in group]))

    for group in groups[: job["warm"]]:
        score(group)
    meter = Meter()
    for group in groups:
        score(group)
    return meter.read() | {"images": len(files)}


def versions() -> dict[str, str]:
    """Of what is measured."""
    return {name: version(name) for name in ("anomalib", "torch")}


if __name__ == "__main__":
    answer({"selection": selection, "training": training, "scoring": scoring})
