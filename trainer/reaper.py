"""Rings again for the jobs that nobody works on: their bell was lost, or their worker died."""

import logging
import os
import threading
import time
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from storage.database import Database
from storage.jobs import Jobs
from storage.settings import Settings

log = logging.getLogger(__name__)


class Reaper:
    """A thread of the worker's parent process. It holds nothing open while that process forks.

    SQLite's locks and a database connection must not pass to a child, so a fork waits until a round is over, and each
    round closes its connections.
    """

    def __init__(self, settings: Settings, queue: str, busy: Callable[[], bool]) -> None:
        self._settings, self._queue, self._busy = settings, queue, busy
        self._rung: dict[str, float] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Begin; the first round is at once."""
        os.register_at_fork(
            before=self._lock.acquire, after_in_parent=self._lock.release, after_in_child=self._lock.release
        )
        threading.Thread(target=self._run, name="reaper", daemon=True).start()

    def _run(self) -> None:
        database = Database(self._settings.catalogue)
        jobs = Jobs(database, self._settings)
        while True:
            # A busy worker would only pile up bells: what waits is rung for once the work is done.
            if not self._busy():
                with self._lock:
                    try:
                        self._ring(jobs)
                    except SQLAlchemyError as error:
                        log.warning("waiting jobs could not be looked up, trying again: %s", error)
                    finally:
                        database.close()
            time.sleep(self._settings.reap_seconds)

    def _ring(self, jobs: Jobs) -> None:
        moment = time.monotonic()
        waiting = jobs.waiting(self._queue)
        # Within a lease the bell may still be on its way.
        recent = {id_: rung for id_, rung in self._rung.items() if moment - rung < self._settings.lease_seconds}
        for id_, kind in waiting:
            if id_ not in recent:
                log.info("ringing for job %s (%s), which nobody works on", id_, kind)
                jobs.ring(id_, kind)
                recent[id_] = moment
        self._rung = recent
