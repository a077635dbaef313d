"""A Redis server for the tests, on a free port with a folder of its own."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.conftest import free_port, wait_until

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
needs_redis = pytest.mark.skipif(PROGRAM is None, reason="Redis is not tested: it is not installed")
BROKERS = ["filesystem", pytest.param("redis", marks=needs_redis)]


@dataclass
class Redis:
    """A running server that keeps what it acknowledged."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it answers."""
        assert PROGRAM is not None
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        options += ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
        self.process = subprocess.Popen([PROGRAM, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._answers, 60, "Redis to answer")

    def kill(self) -> None:
        """Kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        with redis.Redis(port=self.port, socket_timeout=2) as client:
            try:
                return bool(client.ping())
            except redis.RedisError:
                return False


@contextmanager
def running_redis(folder: Path) -> Iterator[Redis]:
    """A server that is ended with the block."""
    folder.mkdir(parents=True)
    server = Redis(folder, free_port())
    server.start()
    try:
        yield server
    finally:
        server.kill()


@contextmanager
def running_broker(name: str, folder: Path) -> Iterator[str | None]:
    """One of BROKERS, empty. → its URL, or None for folders in the data directory"""
    if name == "filesystem":
        yield None
        return
    with running_redis(folder / "redis") as server:
        yield server.url
