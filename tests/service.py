"""A whole service for a test: `vigil up` as a user starts it, in a data directory of its own on a free port."""

import os
import random
import re
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import pytest
from botocore.config import Config

from api.cli.service import port_is_free
from tests.conftest import wait_until
from tests.processes import below, kill

VIGIL = str(Path(sys.executable).with_name("vigil"))
# Short leases: what was killed is missed after seconds. The defaults suit busy machines.
QUICK = {"VIGIL_LEASE_SECONDS": "4", "VIGIL_HEARTBEAT_SECONDS": "1", "VIGIL_REAP_SECONDS": "1"}


class Service:
    """`vigil up` and what runs below it."""

    def __init__(self, data_dir: Path, port: int, environment: Mapping[str, str]) -> None:
        self.data_dir, self.port = data_dir, port
        self.environment = {**os.environ, **environment}
        certificate = environment.get("VIGIL_TLS_CERTIFICATE")
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
        self._trust = ssl.create_default_context(cafile=certificate)
        # The test asks whether it is ready, whatever name its certificate is for.
        self._trust.check_hostname = False
        self._trust.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        self.log_file = data_dir.with_name("vigil.log")
        self._process: subprocess.Popen[bytes] | None = None
        self._exports: dict[str, str] = {}

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self._exports = {}
        with self.log_file.open("ab") as log:
            command = [VIGIL, "up", "--data-dir", str(self.data_dir), "--port", str(self.port)]
            self._process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=subprocess.STDOUT)
        wait_until(self._ready, 120, f"the service to be ready; its log:\n{self.log()}")

    def stop(self) -> int:
        """Stop it as Ctrl-C does. → its exit status"""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(60)

    def kill(self) -> None:
        """Kill -9 of `vigil up` alone: its children have to notice by themselves."""
        assert self._process is not None
        children = self.children()
        self._process.kill()
        self._process.wait()
        # Until they are collected: one that has ended may still hold its port while its threads go.
        wait_until(lambda: not any(child.is_running() for child in children), 30, "the children to go too")

    def kill_tree(self) -> None:
        """Kill -9 of every process at once."""
        assert self._process is not None
        kill(self.processes())
        self._process.wait()

    def processes(self) -> list[psutil.Process]:
        """`vigil up` and all processes below it."""
        assert self._process is not None
        return [psutil.Process(self._process.pid), *self.children()]

    def children(self) -> list[psutil.Process]:
        """All processes below `vigil up`."""
        assert self._process is not None
        return below(self._process.pid)

    def find(self, *words: str) -> list[psutil.Process]:
        """Those of them whose command lines hold all these words."""
        assert self._process is not None
        return below(self._process.pid, *words)

    def exports(self) -> dict[str, str]:
        """The variables that `vigil env` prints. They stay as they are until it starts again."""
        if self._exports:
            return self._exports
        command = [VIGIL, "env", "--data-dir", str(self.data_dir), "--port", str(self.port)]
        printed = subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout
        self._exports = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", printed, re.MULTILINE))
        return self._exports

    def client(self, **options: Any) -> Any:
        """boto3, configured by what `vigil env` prints."""
        names = self.exports()
        return boto3.client(
            "lookoutvision",
            endpoint_url=names["AWS_ENDPOINT_URL_LOOKOUTVISION"],
            aws_access_key_id=names["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=names["AWS_SECRET_ACCESS_KEY"],
            region_name=names["AWS_DEFAULT_REGION"],
            verify=names.get("AWS_CA_BUNDLE"),
            config=Config(**options),
        )

    def bucket(self, name: str) -> Path:
        """The folder that is this bucket of the directory object store."""
        folder = self.data_dir / "objects" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def log(self) -> str:
        """The end of what the service has printed."""
        return self.log_file.read_text(errors="replace")[-12000:] if self.log_file.exists() else ""

    def running(self) -> bool:
        """Whether `vigil up` runs."""
        return self._process is not None and self._process.poll() is None

    def _ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"vigil up ended with {self._process.returncode}:\n{self.log()}")
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2, verify=self._trust).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def running_service(folder: Path, **environment: str) -> Iterator[Service]:
    """A service that is stopped at the end, whatever happens.

    Its objects lie in folders, unless MinIO is asked for. Its trainings compare no detectors, unless told to: that
    costs several times as much, and most tests want to see something else.
    """
    objects = "auto" if "VIGIL_OBJECTS_URL" in environment else "directory"
    usual = {"VIGIL_OBJECTS": objects, "VIGIL_SELECTION_SPENDING": "0"}
    service = Service(folder / "data", service_port(), usual | environment)
    service.start()
    try:
        yield service
    finally:
        if service.running():
            service.stop()


def service_port() -> int:
    """A port of which the next one, for S3, is free too. Outside of those that Linux gives to outgoing connections."""
    ports = range(20_000, 30_000)
    drawn = random.SystemRandom().sample(ports, len(ports))
    return next(port for port in drawn if port_is_free(port) and port_is_free(port + 1))
