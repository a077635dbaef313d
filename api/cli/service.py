"""The service on one machine: the data directory's lock, and the child processes that `vigil up` starts and watches."""

import fcntl
import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import TextIO

import httpx
import psutil

from api.cli.address import HOST, Address
from api.cli.terminal import CommandError, say
from storage.lifeline import spawn
from storage.settings import Settings
from storage.stores import open_stores

# A predecessor that was killed leaves children that need half a second to notice it, and a moment to go.
_PORT_SECONDS = 5.0
_STOP_SECONDS = 15.0
_LONGEST_BACKOFF = 30.0
_LONG_LIFE = 10.0  # seconds after which an end is no failure to start
_TRIES_BEFORE_READY = 5


@dataclass
class Child:
    """One process of the service, and when to start it again after it ended on its own."""

    name: str
    module: str
    arguments: tuple[str, ...] = ()
    own: Mapping[str, str] = field(default_factory=dict)  # variables that no other child has
    process: Popen[bytes] | None = None
    failures: int = 0
    started: float = 0.0
    again_at: float = field(default=0.0)

    def start(self, environment: dict[str, str]) -> None:
        """Start the process."""
        self.process = spawn(self.module, self.arguments, {**environment, **self.own})
        self.started = time.monotonic()

    def tend(self, environment: dict[str, str]) -> None:
        """Start it again when it ended: at once after a long life, with growing patience after a short one."""
        moment = time.monotonic()
        if self.process is not None and (code := self.process.poll()) is not None:
            self.failures = 1 if moment - self.started > _LONG_LIFE else self.failures + 1
            wait = min(2.0 ** (self.failures - 1), _LONGEST_BACKOFF)
            self.process, self.again_at = None, moment + wait
            say(f"The {self.name} process {_how(code)}; it is started again in {wait:.0f} s.")
        elif self.process is None and moment >= self.again_at:
            self.start(environment)


class Service:
    """Starts, watches and stops the children; `store` is the object store, where it is one of them."""

    def __init__(self, settings: Settings, store: Child | None) -> None:
        self.address = Address.local(settings)
        self._environment = {
            # A file api.py in the folder where a user starts Vigil is not ours.
            "PYTHONSAFEPATH": "1",
            "VIGIL_DATA_DIR": str(settings.data_dir.absolute()),
            "VIGIL_HOST": HOST,
            "VIGIL_PORT": str(settings.port),
        }
        if settings.objects_url and settings.objects_access_key and settings.objects_secret_key:
            self._environment |= {
                "VIGIL_OBJECTS_URL": settings.objects_url,
                "VIGIL_OBJECTS_ACCESS_KEY": settings.objects_access_key,
                "VIGIL_OBJECTS_SECRET_KEY": settings.objects_secret_key.get_secret_value(),
            }
        self._stores = [store] if store else []
        self._children = [
            *self._stores,
            Child("API", "api.main"),
            Child("training", "trainer.worker", ("--queue", "training")),
            Child("import", "trainer.worker", ("--queue", "short")),
            Child("inference", "inference.host"),
        ]

    def start(self) -> None:
        """Start all children; `ready` tells when they answer."""
        for child in self._children:
            child.start(self._environment)

    def tend(self) -> None:
        """Start again what ended on its own; call this every now and then."""
        for child in self._children:
            child.tend(self._environment)

    def ready(self) -> bool:
        """Whether the API answers and is ready. Raises CommandError where a child ends again and again."""
        for child in self._children:
            if child.failures >= _TRIES_BEFORE_READY:
                raise CommandError(
                    f"The {child.name} process ended {child.failures} times at the start; the reason is in the lines "
                    "above. `vigil doctor` checks the machine."
                )
        return answers(self.address)

    def stop(self) -> None:
        """Ask all children to end, the object store last, and wait for them."""
        # What the others write while they end still needs its place.
        _end(child for child in self._children if child not in self._stores)
        _end(self._stores)


def answers(address: Address) -> bool:
    """Whether a service at this address says that it is ready."""
    try:
        return httpx.get(f"{address.url}/readyz", timeout=2.0, trust_env=False, verify=address.trust).is_success
    except httpx.HTTPError:
        return False


def prepare(settings: Settings) -> None:
    """Bring the catalogue to the newest schema and make the first access key where there is none."""
    stores = open_stores(settings)
    try:
        stores.keys.create_first(settings.objects_key)
    finally:
        stores.database.close()


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process. Raises CommandError where another `vigil up` holds it."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Opened for appending, so that the holder's number is still there for the one who is refused.
    with (data_dir / "vigil.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read(file) or "unknown"
            raise CommandError(
                f"Vigil already runs on {data_dir} (process {pid}). Use it as it is (`vigil status`), stop it first "
                f"(Ctrl-C where it runs, or `kill {pid}`), or choose another directory with --data-dir."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def is_running(data_dir: Path) -> bool:
    """Whether a `vigil up` holds the data directory."""
    try:
        with (data_dir / "vigil.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


def await_port(port: int, what: str = "") -> None:
    """Wait up to 5 s until the port can be taken. Raises CommandError where another program keeps it."""
    deadline = time.monotonic() + _PORT_SECONDS
    while not port_is_free(port):
        if time.monotonic() > deadline:
            raise CommandError(
                f"Port {port} of this machine{what} is taken by another program. Choose another one with --port, "
                f"or end that program (`ss -ltnp 'sport = :{port}'` names it)."
            )
        time.sleep(0.1)


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def _end(children: Iterable[Child]) -> None:
    """Ask children to end, and wait for them and for what they started; after 15 s end what is left."""
    running = [child.process for child in children if child.process is not None]
    family = [process for child in running for process in _family(child.pid)]
    for process in running:
        process.terminate()
    _, left = psutil.wait_procs(family, _STOP_SECONDS)
    for process in left:
        process.kill()
    psutil.wait_procs(left, _STOP_SECONDS)
    for process in running:
        process.wait()


def _family(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _read(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip()


def _how(code: int) -> str:
    return f"ended with code {code}" if code >= 0 else f"was killed by signal {-code}"
