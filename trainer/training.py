"""One training: from the frozen entries of a model version to its artefact, its evaluation, and one commit."""

import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from importlib.metadata import version as installed_version

from sqlalchemy.exc import OperationalError

from gpu import artefact
from gpu.backbone import STAGES, load_backbone, resolve_backbone
from gpu.device import deterministic, select_device
from gpu.memory_plan import MemoryNeeded
from gpu.weights import WeightsError
from storage import messages
from storage.artefacts import put_artefact
from storage.errors import Conflict, DataKeyError, Missing, ObjectError, Unreachable
from storage.objects import evaluation_key
from storage.options import TrainingOptions, parse_options
from storage.records import Job, JobStatus, Model, ModelStatus, Stored, now
from storage.stores import Stores
from trainer import evaluation
from trainer.dataset import Sample, TrainingError, check_counts, read_snapshot, split
from trainer.fit import Fit, Fitting
from trainer.reading import Reading
from trainer.reliability import trust

_ACTIONABLE = (TrainingError, ObjectError, WeightsError, MemoryNeeded)
_PAUSE_SECONDS = 2.0

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
        _note(self._stores, self._model, message)


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
        if model.kms_key_id is not None:
            stores.data_keys.read(model.kms_key_id)  # found missing now, and not after the work
        train, test = _samples(job, stores, _options(model))
        fit = _fit(job, stores, model, train, test)
        _commit(job, stores, model, fit, len(train))
    except _ACTIONABLE as error:
        log.info("job %s: refused: %s", job.id, error)
        fail(job, stores, f"cannot be done. {error}")
    except DataKeyError as error:
        log.info("job %s: refused: %s", job.id, error)
        fail(job, stores, f"cannot be done: {error}. Put the file of the key back, then train again.")
    except Unreachable as error:
        _note(stores, model, messages.waiting(messages.MODEL_TRAINING, "The training", error))
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


def _note(stores: Stores, model: Model, message: str) -> None:
    try:
        stores.catalogue.note_progress(model, ModelStatus.TRAINING, message)
    except OperationalError as error:
        log.warning("%s/%d: the progress could not be told: %s", model.project, model.version, error)


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
    name = resolve_backbone(options.backbone, settings.weights, device)
    backbone = load_backbone(
        name, settings.weights, allow_download=settings.allow_download, device=device, layers=STAGES
    )
    log.info("job %s: %d + %d images, %s on %s, %s", job.id, len(train), len(test), name, device, options)
    reading = Reading(stores.objects, [*train, *test], settings, progress)
    with deterministic(options.seed):
        fitting = Fitting(
            reading, backbone, options, progress, settings.training_memory_gib, settings.selection_spending
        )
        return fitting.fit(train, test)


def _patiently(stores: Stores, model: Model, put: Callable[[], Stored]) -> Stored:
    """Store what was made, for as long as it takes: the work need not be done again for a disk that was full."""
    while True:
        try:
            return put()
        except Unreachable as error:
            log.warning("%s/%d waits: %s", model.project, model.version, error)
            _note(stores, model, messages.waiting(messages.MODEL_TRAINING, "The training is done, but", error))
            time.sleep(_PAUSE_SECONDS)


def _commit(job: Job, stores: Stores, model: Model, fit: Fit, training_images: int) -> None:
    """Objects first, the one transaction that points at them last."""
    project, version, objects = model.project, model.version, stores.objects
    ended, arn = now(), stores.arns.model(project, version)
    figures = evaluation.metrics(fit.judged)
    data = artefact.save(fit.inspector, fit.references, installed_version("vigil"), fit.dimensions)
    stored = _patiently(stores, model, lambda: put_artefact(stores, model, job, data))
    trusted = trust(fit.judged, fit.histogram) | {"Candidates": fit.choice.report()}
    result = evaluation.evaluation_result(arn, ended, training_images, len(fit.judged), figures, fit.pixels, trusted)
    manifest = evaluation.evaluation_manifest(fit.judged, arn, project, version, ended)
    written: dict[str, Stored] = {}
    for what, content in (("Result", result), ("Manifest", manifest)):
        put = partial(objects.put, model.output_bucket, evaluation_key(model.output_prefix, what, project, version))
        written[what] = _patiently(stores, model, partial(put, content))
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
