"""The lease of the job at hand: kept by a thread while the work runs, given back when the worker is asked to stop."""

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from storage.jobs import Jobs
from storage.records import Job

TAKEN_OVER = 3  # exit status of a process whose job went to another worker
# Not SIGTERM: Celery sends that to every child that is about to end, while it still holds a lock of the pool.
RELEASE = signal.SIGUSR2
_GRACE_SECONDS = 2.0  # a job that was just finished looks like one that was taken over, until its handler returns

log = logging.getLogger(__name__)


class Lease:
    """Keeps the lease of one job at a time, from a thread of its own: torch releases the interpreter often enough."""

    def __init__(self, heartbeat_seconds: float) -> None:
        self._seconds = heartbeat_seconds
        self._held: tuple[Jobs, Job] | None = None

    @contextmanager
    def held(self, jobs: Jobs, job: Job) -> Iterator[None]:
        """Keep the lease of a claimed job meanwhile. Where it is lost the whole process ends at once."""
        over = threading.Event()
        thread = threading.Thread(target=self._keep, args=(jobs, job, over), name="heartbeat", daemon=True)
        self._held = jobs, job
        thread.start()
        try:
            yield
        finally:
            self._held = None
            over.set()
            thread.join()

    def release_on_signal(self) -> None:
        """From now on the signal RELEASE gives the job back and ends the process, whatever the main thread is doing.

        A thread waits for the signal, because a handler would have to wait for the end of a long call into torch.
        Call in the main thread, before other threads are started: they inherit that the signal is not theirs.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {RELEASE})
        threading.Thread(target=self._wait_for_release, name="release", daemon=True).start()

    def _wait_for_release(self) -> None:
        signal.sigwait({RELEASE})
        try:
            if self._held is not None:
                jobs, job = self._held
                jobs.release(job)
                log.info("job %s was given back: the worker was asked to stop", job.id)
        except SQLAlchemyError:
            log.exception("a job could not be given back; it goes on when its lease has run out")
        finally:
            os._exit(0)

    def _keep(self, jobs: Jobs, job: Job, over: threading.Event) -> None:
        while not over.wait(self._seconds):
            try:
                held = jobs.keep(job)
            except SQLAlchemyError as error:
                log.warning("job %s: the lease could not be kept, trying again: %s", job.id, error)
                continue
            if not held and not over.wait(_GRACE_SECONDS):
                log.error("job %s was taken over by another worker; this one stops", job.id)
                os._exit(TAKEN_OVER)
