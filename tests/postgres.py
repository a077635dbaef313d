"""A PostgreSQL server for the tests, on a free port with a folder of its own; one database per test."""

import itertools
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg

from tests.conftest import free_port, wait_until

# Debian keeps the server's programs out of the PATH.
FOLDERS = [*os.environ.get("PATH", "").split(os.pathsep), *map(str, sorted(Path("/usr/lib/postgresql").glob("*/bin")))]
PROGRAM = shutil.which("postgres", path=os.pathsep.join(FOLDERS))
# The server refuses to run as root; Debian's package brings this user.
AS_USER = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []


@dataclass
class Postgres:
    """A running server."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        assert PROGRAM is not None
        command = [PROGRAM, "-D", str(self.folder), "-p", str(self.port), "-h", "127.0.0.1", "-k", str(self.folder)]
        self.process = subprocess.Popen(
            [*AS_USER, *command], cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._answers, 60, "PostgreSQL to take connections")

    def database(self) -> str:
        """The SQLAlchemy URL of a new, empty database."""
        name = f"vigil_{next(self._numbers)}_{uuid.uuid4().hex[:8]}"
        with psycopg.connect(self._admin(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")  # type: ignore[arg-type]
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def kill(self) -> None:
        """Kill -9 of the server, and wait until its children have noticed."""
        assert self.process is not None
        pid = int((self.folder / "postmaster.pid").read_text().split()[0])
        server = psutil.Process(pid)
        children = server.children(recursive=True)
        server.kill()
        psutil.wait_procs(children, timeout=30)
        self.process.wait()

    def stop(self) -> None:
        """End it at once; the databases are thrown away."""
        assert self.process is not None
        pid = int((self.folder / "postmaster.pid").read_text().split()[0])
        os.kill(pid, 3)  # SIGQUIT: immediate shutdown
        self.process.wait()

    def _admin(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def _answers(self) -> bool:
        try:
            psycopg.connect(self._admin(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server that is ended, and its folder removed, with the block."""
    assert PROGRAM is not None
    # Not below pytest's folders, which only their owner may enter: the server may run as another user.
    top = Path(tempfile.mkdtemp(prefix="vigil-postgres-"))
    top.chmod(0o755)
    folder = top / "data"
    folder.mkdir()
    if AS_USER:
        shutil.chown(folder, "postgres")
    initdb = str(Path(PROGRAM).with_name("initdb"))
    options = ["-U", "postgres", "-A", "trust", "--no-sync", "--encoding=UTF8", "--locale=C"]
    command = [*AS_USER, initdb, "-D", str(folder), *options]
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)
    server = Postgres(folder, free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(top)
