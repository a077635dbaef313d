"""OpenStack Swift with its S3 face for the tests: another S3 server than MinIO, by other people, in other code."""

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from storage.settings import Settings
from tests.conftest import free_port, wait_until

_SERVERS = ("account", "container", "object")
PROGRAMS = [shutil.which(f"swift-{name}-server") for name in ("proxy", *_SERVERS)]
needs_swift = pytest.mark.skipif(None in PROGRAMS, reason="Swift is not tested: it is not installed")
# The rings that swift-ring-builder makes, without starting it nine times: one disk, one copy of everything.
_RINGS = """
import sys
from swift.common.ring import RingBuilder
folder, *servers = sys.argv[1:]
for server in servers:
    name, port = server.split(":")
    builder = RingBuilder(4, 1, 0)
    builder.add_dev(dict(region=1, zone=1, ip="127.0.0.1", port=int(port), device="disk", weight=1))
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{name}.ring.gz")
"""
# Of what Debian's packages put into /etc/swift, only swift.conf is read.
_STORE = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
devices = {folder}
mount_check = false
workers = 0
log_level = ERROR
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
"""
_PROXY = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
workers = 0
log_level = ERROR
[pipeline:main]
pipeline = catch_errors healthcheck cache listing_formats s3api tempauth copy slo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:cache]
use = egg:swift#memcache
# Nobody is there: what asks a cache does without.
memcache_servers = 127.0.0.1:1
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_vigil_tests = {secret} .admin
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_object_versioning = true
""" + "".join(
    f"[filter:{name}]\nuse = egg:swift#{name}\n"
    for name in ("catch_errors", "healthcheck", "listing_formats", "copy", "slo", "symlink")
)


@dataclass
class Swift:
    """A running server: the proxy that speaks S3, and the three servers behind it."""

    folder: Path
    port: int = field(default_factory=free_port)
    secret: str = field(default_factory=lambda: secrets.token_hex(16))
    user: str = "vigil:tests"
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it takes requests."""
        assert PROGRAMS[0] is not None
        (self.folder / "disk").mkdir(parents=True)
        user = pwd.getpwuid(os.geteuid()).pw_name
        ports = {name: free_port() for name in _SERVERS}
        python = Path(PROGRAMS[0]).read_text().partition("\n")[0].removeprefix("#!").strip()
        servers = [f"{name}:{port}" for name, port in ports.items()]
        subprocess.run([python, "-c", _RINGS, str(self.folder), *servers], check=True)
        for name, port in ports.items():
            self._run(name, _STORE.format(name=name, port=port, user=user, folder=self.folder))
        self._run("proxy", _PROXY.format(port=self.port, user=user, folder=self.folder, secret=self.secret))
        wait_until(self._answers, 60, "Swift to take requests")

    def stop(self) -> None:
        """End it at once."""
        for process in self.processes:
            process.kill()
            process.wait()

    def settings(self, data_dir: Path) -> Settings:
        """Settings of a process whose objects lie here."""
        return Settings(
            data_dir=data_dir,
            objects_url=self.url,
            objects_access_key=self.user,
            objects_secret_key=self.secret,  # type: ignore[arg-type]
        )

    def _run(self, name: str, configuration: str) -> None:
        file = self.folder / f"{name}.conf"
        file.write_text(configuration)
        with file.with_suffix(".log").open("wb") as log:
            command = [f"swift-{name}-server", "--verbose", str(file)]
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))

    def _answers(self) -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/healthcheck", timeout=2).is_success
        return False


@contextmanager
def running_swift(folder: Path) -> Iterator[Swift]:
    """A server that is ended with the block."""
    server = Swift(folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
