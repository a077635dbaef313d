"""Jobs: the row is the truth, the broker only a doorbell.

A worker that hears the bell claims the row (lease and epoch), keeps the lease while it works, and finishes under its
epoch; a worker that was taken for dead finishes nothing. Jobs whose bell was lost are rung for again.
"""

import logging
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from celery import Celery

from storage import schema
from storage.database import Database
from storage.errors import Superseded
from storage.records import Job, JobStatus, now
from storage.settings import Settings

TASK = "vigil.work"
IMPORT, TRAIN, DELETE = "import", "train", "delete"
# Short work has a queue of its own, so that no data set waits for a training.
QUEUES: Mapping[str, str] = {IMPORT: "short", DELETE: "short", TRAIN: "training"}
_TORN_SECONDS = 5.0

log = logging.getLogger(__name__)


def celery_app(settings: Settings) -> Celery:
    """The Celery application: one task, results ignored, a message given back only when its work is done."""
    app = Celery("vigil", broker=settings.broker_url or "filesystem://localhost/", set_as_current=False)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
    )
    if settings.broker_url and settings.broker_url.startswith(("redis", "rediss")):
        # A message is given to another worker after two hours, looked for every ten seconds: the row knows earlier.
        app.conf.broker_transport_options = {
            "visibility_timeout": 7200,
            "unacked_restore_interval": 10,
            "unacked_restore_throttle": 1,
        }
    if settings.broker_url is None:
        folder = _folder(settings)
        for name in ("messages", "control"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        _mend(folder)
        messages = str(folder / "messages")
        app.conf.broker_transport_options = {
            "data_folder_in": messages,
            "data_folder_out": messages,
            "control_folder": str(folder / "control"),
        }
    return app


def _folder(settings: Settings) -> Path:
    return settings.data_dir.absolute() / "broker"


def _mend(folder: Path) -> None:
    """Remove the empty files that kombu leaves on a full disk, and cannot read afterwards: they would stop all workers.

    What is lost is at most a bell, and tables that are written anew; a file that is just being written is left alone.
    """
    for path in folder.glob("*/*"):
        with suppress(FileNotFoundError):
            found = path.stat()
            if not found.st_size and found.st_mtime < time.time() - _TORN_SECONDS:
                path.unlink()


class Jobs:
    """Submits, claims and finishes jobs."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._lease = timedelta(seconds=settings.lease_seconds)
        self._folder = None if settings.broker_url else _folder(settings)
        self._celery = celery_app(settings)

    def submit(self, kind: str, payload: Mapping[str, Any], id_: str | None = None) -> str:
        """Write a job within the open transaction and ring once that is committed. → the job's id"""
        id_ = id_ or str(uuid.uuid4())
        values = {"id": id_, "kind": kind, "payload": dict(payload), "status": JobStatus.OPEN, "created": now()}
        with self._database.transaction() as connection:
            connection.execute(schema.job.insert().values(**values, epoch=0, attempts=0, lease_until=now()))
            self._database.after_commit(lambda: self.ring(id_, kind))
        return id_

    def ring(self, id_: str, kind: str) -> bool:
        """Tell the workers that a job waits. → whether the broker took it; if not, the job is rung for again"""
        try:
            self._celery.send_task(TASK, args=[id_], queue=QUEUES[kind])
        except Exception as error:  # on a full disk kombu's filesystem transport raises even AttributeError
            log.warning("job %s waits, but the broker cannot be reached now: %s", id_, error)
            if self._folder is not None:
                _mend(self._folder)
            return False
        return True

    def claim(self, id_: str) -> Job | None:
        """Take the job, unless it is finished or somebody holds a lease on it."""
        j = schema.job.c
        moment = now()
        where = (j.id == id_) & (j.status == JobStatus.OPEN) & (j.lease_until <= moment)
        changes = {"epoch": j.epoch + 1, "attempts": j.attempts + 1, "lease_until": moment + self._lease}
        with self._database.transaction() as connection:
            row = connection.execute(schema.job.update().where(where).values(changes).returning(schema.job)).first()
        if row is None:
            return None
        return Job(row.id, row.kind, row.payload, JobStatus(row.status), row.epoch, row.attempts, row.lease_until)

    def keep(self, job: Job) -> bool:
        """Extend the lease. False where the job is no longer this worker's."""
        return self._change(job, lease_until=now() + self._lease)

    def release(self, job: Job) -> None:
        """Give the job back unfinished, as if it had not been tried: the worker was asked to stop."""
        self._change(job, lease_until=now(), attempts=job.attempts - 1)

    def finish(self, job: Job, status: JobStatus = JobStatus.DONE) -> None:
        """End the job within the open transaction. Raises Superseded, which must undo that transaction."""
        if not self._change(job, status=status):
            raise Superseded(f"job {job.id} was taken over by another worker")

    def waiting(self, queue: str) -> list[tuple[str, str]]:
        """(id, kind) of the unfinished jobs of a queue that nobody works on, oldest first."""
        j = schema.job.c
        kinds = [kind for kind, name in QUEUES.items() if name == queue]
        open_ = (j.status == JobStatus.OPEN) & (j.lease_until <= now()) & j.kind.in_(kinds)
        with self._database.reading() as connection:
            rows = connection.execute(sa.select(j.id, j.kind).where(open_).order_by(j.created))
            return [(row.id, row.kind) for row in rows]

    def _change(self, job: Job, **values: Any) -> bool:
        j = schema.job.c
        where = (j.id == job.id) & (j.epoch == job.epoch) & (j.status == JobStatus.OPEN)
        with self._database.transaction() as connection:
            return connection.execute(schema.job.update().where(where).values(**values)).rowcount == 1
