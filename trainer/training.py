"""One training: from the frozen entries of a model version to its artefact, its evaluation, and one commit."""

import logging
import time
from dataclasses import asdict
from importlib.metadata import version as installed_version

from gpu import artefact
from gpu.backbone import load_backbone, resolve_backbone
from gpu.device import deterministic, select_device
from gpu.fitting import MemoryNeeded
from gpu.weights import WeightsError
from storage import messages
from storage.errors import Conflict, Missing, ObjectError, Unreachable
from storage.objects import OWN_BUCKET, artefact_key, evaluation_key
from storage.options import TrainingOptions, parse_options
from storage.records import Job, JobStatus, Model, ModelStatus, now
from storage.stores import Stores
from trainer import evaluation
from trainer.dataset import Sample, TrainingError, check_counts, read_snapshot, split
from trainer.fit import Fit, Fitting
from trainer.reading import Reading

_ACTIONABLE = (TrainingError, ObjectError, WeightsError, MemoryNeeded)

log = logging.getLogger(__name__)


class Progress:
    """Tells the model's users what is being done; at most once a second, since each time is a write."""

    def __init__(self, stores: Stores, model: Model) -> None:
        self._stores, self._model = stores, model
        self._last = float("-inf")

    def __call__(self, phase: str, fraction: float) -> None:
        """`fraction` of the phase is done, from 0 to 1."""
        if time.monotonic() - self._last < 1:
            return
        self._last = time.monotonic()
        message = f"{messages.MODEL_TRAINING} {phase}, {100 * min(fraction, 1):.0f} %."
        self._stores.catalogue.note_progress(self._model.project, self._model.version, message)


def run(job: Job, stores: Stores) -> None:
    """Train the model of the job. What its users can act on ends as TRAINING_FAILED with a message that says how.

    Raises Superseded where another worker has the job by now, and Unreachable where the object store does not answer;
    then nothing is committed.
    """
    try:
        model = stores.catalogue.model(job.payload["project"], job.payload["version"])
    except Missing as error:
        log.info("job %s: nothing to train: %s", job.id, error)
        stores.jobs.finish(job)
        return
    try:
        train, test = _samples(job, stores, _options(model))
        fit = _fit(job, stores, model, train, test)
        _commit(job, stores, model, fit, len(train))
    except _ACTIONABLE as error:
        log.info("job %s: refused: %s", job.id, error)
        fail(job, stores, f"cannot be done. {error}")
    except Unreachable as error:
        waits = f"{messages.MODEL_TRAINING} The training waits and goes on by itself: {error}."
        stores.catalogue.note_progress(model.project, model.version, waits)
        raise
    except Conflict as error:
        log.info("job %s: nothing to train: %s", job.id, error)
        stores.jobs.finish(job)


def fail(job: Job, stores: Stores, reason: str) -> None:
    """End the job with TRAINING_FAILED; `reason` continues "The training …". Raises Superseded."""
    try:
        model = stores.catalogue.model(job.payload["project"], job.payload["version"])
        with stores.database.transaction():
            stores.catalogue.move_model(model, ModelStatus.TRAINING_FAILED, f"The training {reason}")
            stores.jobs.finish(job, JobStatus.FAILED)
    except (Missing, Conflict) as error:
        log.info("job %s: no model to fail: %s", job.id, error)
        stores.jobs.finish(job, JobStatus.FAILED)


def _options(model: Model) -> TrainingOptions:
    try:
        return parse_options(model.options)
    except ValueError as error:
        raise TrainingError(f"Its options cannot be used: {error}.") from None


def _samples(job: Job, stores: Stores, options: TrainingOptions) -> tuple[list[Sample], list[Sample]]:
    train = read_snapshot(stores.objects, job.payload["train"])
    key = job.payload.get("test")
    test = None if key is None else read_snapshot(stores.objects, key)
    check_counts(train, test, stores.settings)
    if test is None:
        return split(train, stores.settings.test_fraction, options.seed)
    return train, test


def _fit(job: Job, stores: Stores, model: Model, train: list[Sample], test: list[Sample]) -> Fit:
    settings, options, progress = stores.settings, _options(model), Progress(stores, model)
    progress("Loading the backbone", 0)
    device = select_device()
    name = resolve_backbone(options.backbone, settings.weights)
    backbone = load_backbone(name, settings.weights, allow_download=settings.allow_download, device=device)
    log.info("job %s: %d + %d images, %s on %s, %s", job.id, len(train), len(test), name, device, options)
    reading = Reading(stores.objects, [*train, *test], settings, progress)
    with deterministic(options.seed):
        return Fitting(reading, backbone, options, progress).fit(train, test)


def _commit(job: Job, stores: Stores, model: Model, fit: Fit, training_images: int) -> None:
    """Objects first, the one transaction that points at them last."""
    project, version, objects = model.project, model.version, stores.objects
    ended, arn = now(), stores.arns.model(project, version)
    figures = evaluation.metrics(fit.judged)
    data = artefact.save(fit.inspector, fit.references, installed_version("vigil"), fit.dimensions)
    stored = objects.put(OWN_BUCKET, artefact_key(project, version, job.id, job.epoch), data)
    result = evaluation.evaluation_result(arn, ended, training_images, len(fit.judged), figures, fit.pixels)
    manifest = evaluation.evaluation_manifest(fit.judged, arn, project, version, ended)
    written = {
        what: objects.put(model.output_bucket, evaluation_key(model.output_prefix, what, project, version), content)
        for what, content in (("Result", result), ("Manifest", manifest))
    }
    with stores.database.transaction():
        stores.catalogue.move_model(
            model,
            ModelStatus.TRAINED,
            messages.MODEL_TRAINED,
            performance=asdict(evaluation.performance(figures)),
            evaluated=ended,
            evaluation_result=asdict(written["Result"]),
            evaluation_manifest=asdict(written["Manifest"]),
            artefact=asdict(stored),
        )
        stores.jobs.finish(job)
    log.info("job %s: trained, F1 %.3f on %d test images", job.id, figures["F1Score"], len(fit.judged))
