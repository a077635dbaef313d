"""Training on large JPEG files: ours on a running service, anomalib's with its own Engine, in turn."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from sklearn.metrics import roc_auc_score

from gpu import artefact
from gpu.backbone import STAGES, load_backbone
from gpu.inspection import Inspector
from storage.objects import OWN_BUCKET
from storage.options import TrainingOptions
from tests.benchmarks.datasets import Photo
from tests.benchmarks.own import prepared, train
from tests.benchmarks.photographs import Photographs
from tests.benchmarks.speed.context import Context
from tests.benchmarks.speed.processes import run_baseline, run_own
from tests.benchmarks.speed.stopwatch import Stopwatch
from tests.benchmarks.usage import Meter, memory
from tests.conftest import wait_until
from tests.journey import BUCKET, create_project, manifest
from tests.service import Service, running_service

RATIO = 0.01
_FEWEST_TESTS = 10  # of each kind: what CreateModel asks of a test data set
_PROJECT, _ASK_SECONDS, _BATCH = "speed", 0.2, 8


def measure(context: Context) -> dict[str, Any]:
    """One training a seed of each, in turn, then one of ours whose phases are timed."""
    photos = context.enlarged()
    ours, theirs = [], []
    with _service(context) as service:
        for seed in range(context.scale.rounds):
            ours.append(_train_own(context, service, seed))
            if context.anomalib:
                theirs.append(_train_baseline(context, seed))
    job = _job(context) | {"train": photos.train, "test": _few(context), "artefact": str(context.work / "phases")}
    return {
        "images": len(photos.train),
        "side": context.scale.side,
        "size": context.size,
        "ratio": RATIO,
        "evaluated": 2 * _FEWEST_TESTS,
        "good": len(photos.good),
        "bad": len(photos.bad),
        "ours": ours,
        "baseline": theirs,
        "phases": run_own("phases", job),
    }


def ensure_models(context: Context) -> None:
    """A model of each, of the same images, where the training has left none."""
    if "ours" not in context.models:
        with _service(context) as service:
            _train_own(context, service, 0)
    if context.anomalib and "baseline" not in context.models:
        _train_baseline(context, 0)


def judge(job: dict[str, Any]) -> dict[str, Any]:
    """The scores of the test images by a stored model."""
    inspector, found = read_inspector(job), []
    for start in range(0, len(job["test"]), _BATCH):
        photos = [Photo(Path(path)) for path in job["test"][start : start + _BATCH]]
        found += inspector.inspect(prepared(inspector, photos))
    return {"scores": [one.score for one in found]}


def phases(job: dict[str, Any]) -> dict[str, Any]:
    """Seconds of each phase of a training without a service around it."""
    shown = [Photo(Path(path)) for path in job["train"]]
    judged = [Photo(Path(path), "bad" if bad else None) for path, bad in job["test"]]
    photographs = Photographs([*shown, *judged])
    options = TrainingOptions(
        detector="patchcore", backbone="resnet18", image_size=job["size"], coreset_ratio=job["ratio"]
    )
    backbone = load_backbone("resnet18", Path(job["weights"]), layers=STAGES)
    watch, meter = Stopwatch(), Meter()
    with watch.running():
        samples = photographs.samples(shown), photographs.samples(judged)
        fit = train(photographs, *samples, options, backbone, watch.progress)
    trained = time.perf_counter()
    Path(job["artefact"]).write_bytes(artefact.save(fit.inspector, fit.references, "benchmark", fit.dimensions))
    watch.seconds["store"] = time.perf_counter() - trained
    return meter.read() | {"phases": dict(watch.seconds)}


def read_inspector(job: dict[str, Any]) -> Inspector:
    """The model of a job's artefact, with its backbone from the job's weights."""
    weights = Path(job["weights"])
    inspector, _ = artefact.load(Path(job["model"]).read_bytes(), partial(load_backbone, weights_directory=weights))
    return inspector


def _job(context: Context) -> dict[str, Any]:
    return {"weights": str(context.weights), "size": context.size, "ratio": RATIO}


def _few(context: Context) -> list[tuple[str, bool]]:
    """The test images that a training on the service evaluates with, and whether each is bad."""
    photos = context.enlarged()
    good = [(path, False) for path in photos.good[:_FEWEST_TESTS]]
    return good + [(path, True) for path in photos.bad[:_FEWEST_TESTS]]


@contextmanager
def _service(context: Context) -> Iterator[Service]:
    """A running service with the photographs in a project's two data sets."""
    folder = context.work / "service"
    folder.mkdir()
    with running_service(folder, VIGIL_WEIGHTS_DIR=str(context.weights.absolute())) as service:
        client = service.client()
        for type_, photos in (
            ("train", [(path, False) for path in context.enlarged().train]),
            ("test", _few(context)),
        ):
            place, images = service.bucket(BUCKET) / type_, {}
            place.mkdir()
            for number, (path, bad) in enumerate(photos):
                shutil.copy(path, place / f"{number:04}.jpg")
                images[f"{type_}/{number:04}.jpg"] = "bad" if bad else None
            create_project(client, service, _PROJECT, manifest(images, masks=False), type_)
        yield service
    shutil.rmtree(folder)


def _train_own(context: Context, service: Service, seed: int) -> dict[str, Any]:
    """From CreateModel to TRAINED; CPU and memory are those of the process that trains."""
    client = service.client()
    tags = {"backbone": "resnet18", "image-size": context.size, "coreset-ratio": RATIO, "seed": seed}
    parent = _trainer(service)
    child = wait_until(parent.children, 60, "a worker that waits for a training")[0]
    before, peak, ended = parent.cpu_times(), [memory("VmRSS", child.pid)], threading.Event()
    empty = peak[0]

    def watch() -> None:
        while not ended.wait(0.05):
            try:
                peak[0] = memory("VmHWM", child.pid)
            except (OSError, StopIteration):  # it has ended: a worker trains once
                return

    watching = threading.Thread(target=watch)
    watching.start()
    started = time.perf_counter()
    made = client.create_model(
        ProjectName=_PROJECT,
        OutputConfig={"S3Location": {"Bucket": BUCKET, "Prefix": "evaluation/"}},
        Tags=[{"Key": f"vigil:{name}", "Value": f"{value}"} for name, value in tags.items()],
    )["ModelMetadata"]
    described = _ended(client, made["ModelVersion"])
    wall = time.perf_counter() - started
    wait_until(lambda: not child.is_running(), 60, "the worker that has trained to end")
    ended.set()
    watching.join()
    if described["Status"] != "TRAINED":
        raise RuntimeError(f"the training ended as {described['Status']}: {described['StatusMessage']}")
    after = parent.cpu_times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    folder = service.data_dir / "objects" / OWN_BUCKET / "models" / _PROJECT / made["ModelVersion"]
    (stored,) = folder.glob("*/detector.safetensors")
    model = context.work / f"ours-{seed}"
    shutil.copy(stored, model)
    context.models.setdefault("ours", model)
    photos = context.enlarged()
    judged = run_own("judge", _job(context) | {"model": str(model), "test": photos.test})
    auroc = roc_auc_score(photos.truth, judged["scores"])
    return {"wall": wall, "cpu": cpu, "peak": peak[0], "empty": empty, "auroc": float(auroc)}


def _ended(client: Any, version: str) -> dict[str, Any]:
    """The model's description once its training has ended; asked rarely, because the answers take CPU time as well."""
    while True:
        described = client.describe_model(ProjectName=_PROJECT, ModelVersion=version)["ModelDescription"]
        if described["Status"] != "TRAINING":
            return dict(described)
        time.sleep(_ASK_SECONDS)


def _trainer(service: Service) -> psutil.Process:
    """The process whose children train."""
    found = service.find("trainer.worker", "training")
    numbers = {process.pid for process in found}
    return next(process for process in found if process.ppid() not in numbers)


def _train_baseline(context: Context, seed: int) -> dict[str, Any]:
    assert context.anomalib is not None
    photos = context.enlarged()
    model = context.work / f"baseline-{seed}.pt"
    job = _job(context) | {
        "seed": seed,
        "folder": str(Path(photos.train[0]).parent.absolute()),
        "test": [str(Path(path).absolute()) for path in photos.test],
        "weights": str(context.weights_file.absolute()),
        "model": str(model.absolute()),
    }
    found = run_baseline(context.anomalib, "training", job)
    context.models.setdefault("baseline", model)
    auroc = float(roc_auc_score(photos.truth, torch.tensor(found.pop("scores"))))
    return found | {"auroc": auroc}
