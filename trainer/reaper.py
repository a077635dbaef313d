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

_SLOW_SECONDS = 5.0  # that a busy machine may take, over the lease, to hear a bell

log = logging.getLogger(__name__)


class Reaper:
    """A thread of the worker's parent process. It holds nothing open while that process forks.

    SQLite's locks and a database connection must not pass to a child, so a fork waits until a round is over, and each
    round closes its connections.

    A worker that is idle and yet hears no bell is deaf: kombu stops listening for ever when a connection to Redis
    breaks while it acknowledges a message. It then has to end, and whoever keeps it running starts it again.
    """

    def __init__(
        self,
        settings: Settings,
        queue: str,
        busy: Callable[[], bool],
        heard: Callable[[], int],
        end: Callable[[], None],
    ) -> None:
        self._settings, self._queue, self._busy, self._heard, self._end = settings, queue, busy, heard, end
        self._rung: dict[str, float] = {}  # job → when its bell was last rung
        self._bells = 0  # heard so far
        self._silent_since: float | None = None  # when a bell was rung that none has been heard after
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
            if self._busy():
                self._rung, self._silent_since = {}, None
            else:
                with self._lock:
                    try:
                        self._ring(jobs)
                    except SQLAlchemyError as error:
                        log.warning("waiting jobs could not be looked up, trying again: %s", error)
                    finally:
                        database.close()
            time.sleep(self._settings.reap_seconds)

    def _ring(self, jobs: Jobs) -> None:
        moment, lease, bells = time.monotonic(), self._settings.lease_seconds, self._heard()
        waiting = dict(jobs.waiting(self._queue))
        self._rung = {id_: rung for id_, rung in self._rung.items() if id_ in waiting}
        if not waiting or bells != self._bells:
            self._bells, self._silent_since = bells, None
        if self._silent_since is not None and moment - self._silent_since > lease + _SLOW_SECONDS:
            log.error("this worker is idle, but no bell reaches it any more; it ends, to be started again")
            self._end()
        for id_, kind in waiting.items():
            # A bell may be lost, too; but within half a lease it may still be on its way.
            if moment - self._rung.get(id_, float("-inf")) < lease / 2:
                continue
            log.info("ringing for job %s (%s), which nobody works on", id_, kind)
            if jobs.ring(id_, kind):
                self._rung[id_] = moment
                self._silent_since = self._silent_since or moment
