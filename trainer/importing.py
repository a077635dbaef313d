"""Manifest → entries of a data set: what CreateDataset and UpdateDatasetEntries leave to be done."""

import logging
from dataclasses import dataclass

from storage import messages
from storage.errors import Conflict, ManifestError, ObjectError, Unreachable
from storage.manifest import bucket_of, check_bucket, parse_manifest
from storage.objects import OWN_BUCKET
from storage.records import Dataset, DatasetStatus, Entry, Job
from storage.settings import MEBIBYTE
from storage.stores import Stores

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Source:
    """Where the manifest lies, and what the user calls it."""

    bucket: str
    key: str
    version: str | None
    name: str


def run(job: Job, stores: Stores) -> None:
    """Import the manifest of the job into its data set, all of it or nothing.

    Raises Unreachable where the object store does not answer; then nothing is committed.
    """
    dataset = stores.catalogue.dataset_by_id(job.payload["dataset"])
    if dataset is None:
        log.info("job %s: its data set was deleted", job.id)
        stores.jobs.finish(job)
        return
    try:
        entries = _read(job, stores, dataset)
    except (ManifestError, ObjectError) as error:
        log.info("job %s: refused: %s", job.id, error)
        _refuse(job, stores, dataset, f"{_source(job).name} cannot be imported: {error}.")
    except Unreachable as error:
        message = messages.DATASET_CREATING if "source" in job.payload else messages.DATASET_UPDATING
        stores.catalogue.note_import(dataset, messages.waiting(message, "The import", error))
        raise
    else:
        _commit(job, stores, dataset, entries)
    if "changes" in job.payload:
        _forget_changes(job, stores)


def fail(job: Job, stores: Stores, reason: str) -> None:
    """End the job with a reason that the data set's users are told; its entries stay as they were."""
    dataset = stores.catalogue.dataset_by_id(job.payload["dataset"])
    if dataset is None:
        stores.jobs.finish(job)
    else:
        _refuse(job, stores, dataset, f"The import {reason}")


def _source(job: Job) -> _Source:
    changes = job.payload.get("changes")
    if changes is not None:
        return _Source(OWN_BUCKET, changes, None, "The changes")
    source = job.payload["source"]
    bucket, key = source["bucket"], source["key"]
    return _Source(bucket, key, source.get("version"), f"The manifest s3://{bucket}/{key}")


def _read(job: Job, stores: Stores, dataset: Dataset) -> list[Entry]:
    source, settings = _source(job), stores.settings
    size = stores.objects.size(source.bucket, source.key, source.version)
    if size is not None and size > settings.max_manifest_bytes:
        raise ManifestError(
            f"it has {size / MEBIBYTE:,.1f} MiB; at most {settings.max_manifest_bytes / MEBIBYTE:,.1f} MiB are allowed"
        )
    entries = parse_manifest(stores.objects.get(source.bucket, source.key, source.version))
    if not entries:
        raise ManifestError('it has no lines; one line of JSON with a "source-ref" is needed for each image')
    present = [entry for _, entry in stores.catalogue.entries(dataset)]
    if present:
        check_bucket(entries, bucket_of(present[0]))
    total = len({entry.source_ref for entry in (*present, *entries)})
    most = settings.max_training_images if dataset.type == "train" else settings.max_test_images
    if total > most:
        raise ManifestError(
            f"the {dataset.type} data set would have {total:,} images; at most {most:,} are allowed"
            + (f" ({len(present):,} are there)" if present else "")
        )
    return entries


def _commit(job: Job, stores: Stores, dataset: Dataset, entries: list[Entry]) -> None:
    status, message = (
        (DatasetStatus.CREATE_COMPLETE, messages.DATASET_CREATED)
        if "source" in job.payload
        else (DatasetStatus.UPDATE_COMPLETE, messages.DATASET_UPDATED)
    )
    try:
        with stores.database.transaction():
            stores.catalogue.move_dataset(dataset, status, message)
            stores.catalogue.put_entries(dataset, entries)
            stores.jobs.finish(job)
    except Conflict as error:
        _leave(job, stores, error)
    else:
        log.info(
            "job %s: %d entries put into the %s data set of %s", job.id, len(entries), dataset.type, dataset.project
        )


def _refuse(job: Job, stores: Stores, dataset: Dataset, message: str) -> None:
    try:
        with stores.database.transaction():
            if "source" in job.payload:
                stores.catalogue.move_dataset(dataset, DatasetStatus.CREATE_FAILED, message)
            else:
                rolling = DatasetStatus.UPDATE_FAILED_ROLLBACK_IN_PROGRESS
                # No entry was written, so the rollback is over as soon as it begins.
                stores.catalogue.move_dataset(dataset, rolling, message)
                stores.catalogue.move_dataset(dataset, DatasetStatus.UPDATE_FAILED_ROLLBACK_COMPLETE, message)
            stores.jobs.finish(job)
    except Conflict as error:
        _leave(job, stores, error)


def _leave(job: Job, stores: Stores, error: Conflict) -> None:
    """The data set was deleted, or does not wait for this job: there is nothing left to do."""
    log.info("job %s: nothing to do: %s", job.id, error)
    stores.jobs.finish(job)


def _forget_changes(job: Job, stores: Stores) -> None:
    try:
        stores.objects.delete(OWN_BUCKET, job.payload["changes"])
    except (ObjectError, Unreachable) as error:
        log.warning("job %s: its changes are applied but could not be removed: %s", job.id, error)
