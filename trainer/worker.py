"""Entry point of a worker: `python -m trainer.worker --queue training|short`.

The parent listens to the broker and forks a child that does the work. The parent never touches the GPU, and a child
that has trained ends, which gives back all of the GPU's memory.
"""

import argparse
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any

import psutil
from celery import Celery, bootsteps
from celery.signals import worker_process_init, worker_ready
from celery.worker import state
from sqlalchemy.exc import OperationalError

from storage.database import is_full
from storage.errors import Superseded, Unreachable
from storage.jobs import DELETE, IMPORT, QUEUES, TASK, TRAIN, celery_app
from storage.lifeline import die_with_parent
from storage.pulse import Pulse
from storage.records import Job
from storage.settings import Settings
from storage.stores import Stores, open_stores
from trainer.lease import RELEASE, Lease
from trainer.reaper import Reaper

_STOP_SECONDS = 5.0  # for the child to give its job back
_TASKS_PER_CHILD = {"training": 1, "short": 100}
_NICE = {"training": 10, "short": 0}  # a training takes what the replicas leave: parts on the line do not wait for it

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Handler:
    """How a kind of job is done, and how it ends when it cannot be; without `fail` it is tried for ever."""

    run: Callable[[Job, Stores], None]
    fail: Callable[[Job, Stores, str], None] | None


class Worker:
    """The child's side: claims jobs and does them, each under its lease."""

    def __init__(self, stores: Stores, handlers: Mapping[str, Handler], lease: Lease) -> None:
        self._stores, self._handlers, self._lease = stores, handlers, lease

    def work(self, id_: str) -> None:
        """Do the job, unless it is done or somebody else's. Raises OperationalError: the job is then tried again."""
        job = self._stores.jobs.claim(id_)
        if job is None:
            return
        log.info("job %s (%s) begins, attempt %d", job.id, job.kind, job.attempts)
        with self._lease.held(self._stores.jobs, job):
            try:
                self._do(job, self._handlers[job.kind])
            except Superseded as error:
                log.warning("nothing was committed: %s", error)
            except Unreachable as error:
                log.warning("job %s waits: %s", job.id, error)
                self._give_back(job)
            except OperationalError as error:
                if not is_full(error):
                    raise
                log.warning("job %s waits: the disk of the catalogue is full", job.id)
                self._give_back(job)

    def _give_back(self, job: Job) -> None:
        """It is rung for again before long, and no try of it is used up; on a full disk this waits for room."""
        while True:
            try:
                return self._stores.jobs.release(job)
            except OperationalError as error:
                if not is_full(error):
                    raise
                time.sleep(self._stores.settings.heartbeat_seconds)

    def _do(self, job: Job, handler: Handler) -> None:
        attempts = self._stores.settings.max_attempts
        if job.attempts > attempts and handler.fail:
            handler.fail(
                job, self._stores, f"was interrupted {attempts} times and is given up; the trainer's log tells more."
            )
            return
        try:
            handler.run(job, self._stores)
        except (Superseded, Unreachable, OperationalError):
            raise
        except Exception as error:
            log.exception("job %s failed", job.id)
            if handler.fail is None:
                raise
            handler.fail(
                job,
                self._stores,
                f"failed because of an error in the service ({type(error).__name__}): {error}; "
                f"the trainer's log has the details under job {job.id}.",
            )


def handlers_of(queue: str) -> dict[str, Handler]:
    """The handlers of a queue. Those of trainings import torch, so that a forked child has it loaded."""
    if queue == QUEUES[TRAIN]:
        from trainer import training

        return {TRAIN: Handler(training.run, training.fail)}
    from trainer import deleting, importing

    return {IMPORT: Handler(importing.run, importing.fail), DELETE: Handler(deleting.run, None)}


def create_app(settings: Settings, queue: str) -> Celery:
    """The Celery application of a worker: one task, whose work is done in a forked child with stores of its own."""
    handlers, lease, parent = handlers_of(queue), Lease(settings.heartbeat_seconds), os.getpid()
    worker = cache(lambda: Worker(open_stores(settings), handlers, lease))
    app = celery_app(settings)
    app.steps["consumer"].add(_beating(Pulse(settings, queue), settings.heartbeat_seconds))
    app.conf.worker_lost_wait = 1.0  # seconds a dead child is waited for; its job's row tells what became of it

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def work(id_: str) -> None:
        worker().work(id_)

    def begin_child(**_: object) -> None:
        os.nice(_NICE[queue])
        lease.release_on_signal()
        die_with_parent(parent)  # not os.getppid(): the parent may have ended before this child came so far

    def begin_parent(**_: object) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _stop)
        Reaper(
            settings,
            queue,
            busy=lambda: bool(state.reserved_requests),
            heard=lambda: int(state.all_total_count[0]),
            end=lambda: _end(1),
        ).start()

    worker_process_init.connect(begin_child, weak=False)
    worker_ready.connect(begin_parent, weak=False)
    return app


def _beating(pulse: Pulse, seconds: float) -> type[bootsteps.StartStopStep]:
    """The part of the parent that beats as long as it listens to the broker."""

    class Beating(bootsteps.StartStopStep):  # type: ignore[misc]
        requires = ("celery.worker.consumer.tasks:Tasks",)

        timer: Any = None

        def start(self, consumer: Any) -> None:
            pulse.beat()
            self.timer = consumer.timer.call_repeatedly(seconds, pulse.beat)

        def stop(self, _consumer: Any) -> None:
            if self.timer is not None:  # it was never connected
                self.timer.cancel()

    return Beating


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    die_with_parent()
    parser = argparse.ArgumentParser(prog="trainer.worker", description="Imports data sets or trains models.")
    parser.add_argument("--queue", required=True, choices=sorted(set(QUEUES.values())))
    queue: str = parser.parse_args().queue
    logging.basicConfig(
        level=logging.INFO, format=f"%(asctime)s {queue}[%(process)d] %(levelname)s %(name)s: %(message)s"
    )
    # cuBLAS is reproducible only with this workspace, and reads it once, when the process starts using the GPU.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    app = create_app(Settings(), queue)
    worker = app.Worker(
        queues=[queue],
        hostname=f"{queue}@{socket.gethostname()}",
        pool="prefork",
        concurrency=1,
        max_tasks_per_child=_TASKS_PER_CHILD[queue],
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        loglevel="INFO",
        redirect_stdouts=False,
        quiet=True,
    )
    worker.start()
    raise SystemExit(worker.exitcode)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    _end(0)


def _end(status: int) -> None:
    """End at once: the children give their jobs back, the broker's message does not matter."""
    children = psutil.Process().children()
    for child in children:
        child.send_signal(RELEASE)
    _, alive = psutil.wait_procs(children, timeout=_STOP_SECONDS)
    for child in alive:
        child.kill()
    os._exit(status)


if __name__ == "__main__":
    main()
