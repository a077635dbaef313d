import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from threading import Barrier

import pytest
from kombu.exceptions import ChannelError

from storage import schema
from storage.errors import Superseded
from storage.jobs import DELETE, IMPORT, TRAIN, Jobs, celery_app
from storage.records import Job, JobStatus, now
from storage.settings import Settings
from storage.stores import Stores
from tests.redis import BROKERS, needs_redis, running_broker, running_redis
from tests.storage.arrange import abandoned


@pytest.fixture(params=BROKERS)
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str | None]:
    """Every test of jobs runs on each broker too."""
    with running_broker(request.param, tmp_path) as url:
        yield url


def lapse(stores: Stores, id_: str) -> None:
    """Let the lease of a job be over."""
    over = schema.job.update().where(schema.job.c.id == id_).values(lease_until=now() - timedelta(seconds=1))
    with stores.database.transaction() as connection:
        connection.execute(over)


def status(stores: Stores, id_: str) -> str:
    with stores.database.reading() as connection:
        query = schema.job.select().where(schema.job.c.id == id_)
        return str(connection.execute(query).one().status)


def claimed(stores: Stores, id_: str) -> Job:
    job = stores.jobs.claim(id_)
    assert job is not None
    return job


def test_a_job_is_claimed_once_with_what_it_is_about(stores: Stores) -> None:
    id_ = stores.jobs.submit(TRAIN, {"project": "ü", "version": 3, "test": None})
    job = claimed(stores, id_)
    assert (job.id, job.kind, job.epoch, job.attempts) == (id_, TRAIN, 1, 1)
    assert job.payload == {"project": "ü", "version": 3, "test": None}
    assert job.lease_until > now()
    assert stores.jobs.claim(id_) is None
    assert stores.jobs.claim("nothing") is None


def test_of_many_threads_one_claims(stores: Stores) -> None:
    for _ in range(5):
        id_ = stores.jobs.submit(IMPORT, {})
        gate = Barrier(8)

        def claim(_: int, id_: str = id_, gate: Barrier = gate) -> Job | None:
            gate.wait()
            return stores.jobs.claim(id_)

        with ThreadPoolExecutor(8) as pool:
            found = [job for job in pool.map(claim, range(8)) if job]
        assert [job.epoch for job in found] == [1]


CLAIM_ALL = """
import json, sys
from pathlib import Path
from storage.settings import Settings
from storage.stores import open_stores
stores = open_stores(Settings(data_dir=Path(sys.argv[1])))
print("open", flush=True)
sys.stdin.readline()
print(json.dumps([id_ for id_ in sys.argv[2:] if stores.jobs.claim(id_)]))
stores.database.close()
"""


@pytest.fixture
def processes(settings: Settings, stores: Stores) -> Iterator[tuple[list[str], list[subprocess.Popen[str]]]]:
    """Jobs, and processes that claim all of them as soon as they are told to."""
    ids = [stores.jobs.submit(IMPORT, {}) for _ in range(30)]
    command = [sys.executable, "-c", CLAIM_ALL, str(settings.data_dir), *ids]
    environment = {**os.environ, "VIGIL_CATALOGUE_URL": settings.catalogue}
    started = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    yield ids, started
    for process in started:
        process.kill()
        process.communicate()


def test_of_two_processes_each_job_has_one(processes: tuple[list[str], list[subprocess.Popen[str]]]) -> None:
    ids, started = processes
    for process in started:
        assert process.stdout is not None
        assert process.stdout.readline() == "open\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("now\n")
        process.stdin.flush()
    claims = [json.loads(process.communicate(timeout=60)[0]) for process in started]
    assert sorted(id_ for found in claims for id_ in found) == sorted(ids)


def test_a_job_is_claimed_again_when_its_lease_is_over_and_not_before(stores: Stores) -> None:
    id_ = stores.jobs.submit(TRAIN, {})
    first = claimed(stores, id_)
    assert stores.jobs.claim(id_) is None
    lapse(stores, id_)
    second = claimed(stores, id_)
    assert (second.epoch, second.attempts) == (2, 2)
    assert first.payload == second.payload


def test_a_worker_that_was_taken_for_dead_changes_nothing(stores: Stores) -> None:
    id_ = stores.jobs.submit(TRAIN, {})
    old = claimed(stores, id_)
    lapse(stores, id_)
    new = claimed(stores, id_)
    assert stores.jobs.keep(old) is False
    stores.jobs.release(old)
    assert stores.jobs.claim(id_) is None, "the new claim stands"

    def commit() -> None:
        with stores.database.transaction():
            stores.catalogue.create_project("by-the-old-worker")
            stores.jobs.finish(old)

    with pytest.raises(Superseded):
        commit()
    assert stores.catalogue.projects() == [], "what it did is undone with it"
    stores.jobs.finish(new)
    assert status(stores, id_) == "DONE"


def test_keeping_extends_the_lease(stores: Stores) -> None:
    id_ = stores.jobs.submit(TRAIN, {})
    job = claimed(stores, id_)
    lapse(stores, id_)
    assert stores.jobs.keep(job) is True
    assert stores.jobs.claim(id_) is None


def test_a_released_job_waits_again_as_if_it_had_not_been_tried(stores: Stores) -> None:
    id_ = stores.jobs.submit(TRAIN, {})
    job = claimed(stores, id_)
    stores.jobs.release(job)
    assert stores.jobs.waiting("training") == [(id_, TRAIN)]
    again = claimed(stores, id_)
    assert (again.attempts, again.epoch) == (1, 2), "but the released claim cannot finish it any more"
    with pytest.raises(Superseded):
        stores.jobs.finish(job)


@pytest.mark.parametrize("end", [JobStatus.DONE, JobStatus.FAILED])
def test_a_finished_job_is_over(stores: Stores, end: JobStatus) -> None:
    id_ = stores.jobs.submit(DELETE, {})
    job = claimed(stores, id_)
    stores.jobs.finish(job, end)
    lapse(stores, id_)
    assert status(stores, id_) == end
    assert stores.jobs.claim(id_) is None
    assert stores.jobs.keep(job) is False
    assert stores.jobs.waiting("short") == []
    with pytest.raises(Superseded):
        stores.jobs.finish(job)


def test_waiting_jobs_are_listed_by_queue_oldest_first(stores: Stores) -> None:
    imports = [stores.jobs.submit(kind, {}) for kind in (IMPORT, DELETE, IMPORT)]
    trainings = [stores.jobs.submit(TRAIN, {}) for _ in range(2)]
    assert [id_ for id_, _ in stores.jobs.waiting("short")] == imports
    assert [id_ for id_, _ in stores.jobs.waiting("training")] == trainings
    claimed(stores, imports[0])
    assert stores.jobs.waiting("short") == [(imports[1], DELETE), (imports[2], IMPORT)]
    lapse(stores, imports[0])
    assert [id_ for id_, _ in stores.jobs.waiting("short")] == imports


def bells(settings: Settings) -> int:
    """How many messages wait in the queue of trainings."""
    with celery_app(settings).connection() as connection, closing(connection.SimpleQueue("training")) as queue:
        try:
            return int(queue.qsize())
        except ChannelError:
            return 0  # Redis knows a queue only once something was put into it


def test_the_bell_rings_after_the_commit_and_not_without_it(settings: Settings, stores: Stores) -> None:
    with stores.database.transaction():
        stores.jobs.submit(TRAIN, {})
        assert bells(settings) == 0
    assert bells(settings) == 1
    with abandoned(stores.database.transaction()):
        stores.jobs.submit(TRAIN, {})
    assert bells(settings) == 1
    assert len(stores.jobs.waiting("training")) == 1


def test_a_bell_that_cannot_be_rung_loses_no_job(tmp_path: Path, settings: Settings, stores: Stores) -> None:
    if settings.broker_url is None:
        messages = settings.data_dir / "broker" / "messages"
        messages.rmdir()
        messages.write_bytes(b"a file where the folder should be")
        jobs = stores.jobs
    else:
        with running_redis(tmp_path / "short-lived") as server:
            gone = settings.model_copy(update={"broker_url": server.url})
        jobs = Jobs(stores.database, gone)
    id_ = jobs.submit(TRAIN, {})
    assert jobs.waiting("training") == [(id_, TRAIN)]


@needs_redis
def test_redis_keeps_what_a_worker_holds_for_hours_and_looks_after_the_lost_often(tmp_path: Path) -> None:
    with running_redis(tmp_path / "redis") as server:
        app = celery_app(Settings(data_dir=tmp_path, broker_url=server.url))
        with app.connection() as connection:
            channel = connection.default_channel
            sweep = channel.unacked_restore_interval * channel.unacked_restore_throttle
            assert (channel.visibility_timeout, sweep) == (7200, 10)
