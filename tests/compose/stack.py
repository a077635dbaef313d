"""The stack of docker-compose.yml for the tests: brought up from a copy of the checkout, looked into and hurt."""

import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from tests.compose.engine import Engine
from tests.conftest import free_port, wait_until

ROOT = Path(__file__).parents[2]
NAME = "vigil-tests"
# What dies is missed after ten seconds rather than thirty, so that the tests need not wait.
QUICK = {"VIGIL_LEASE_SECONDS": "10", "VIGIL_HEARTBEAT_SECONDS": "2", "VIGIL_REAP_SECONDS": "1"}


@dataclass(frozen=True)
class Stack:
    """A compose project in a folder with its own .env."""

    engine: Engine
    folder: Path
    ports: tuple[int, int]
    name: str = NAME
    files: tuple[str, ...] = ("docker-compose.yml",)

    def compose(self, *arguments: str) -> str:
        """Run docker compose on this project. → what it printed"""
        return self.pipe(None, *arguments).decode()

    def pipe(self, content: bytes | None, *arguments: str) -> bytes:
        """Run docker compose on this project, which reads the content. → what it printed"""
        files = [word for name in self.files for word in ("--file", name)]
        command = ("compose", "--project-name", self.name, *files, *arguments)
        return self.engine.pipe(content, *command, folder=self.folder)

    def up(self, *arguments: str) -> None:
        """Start what does not run and wait until all are healthy."""
        self.compose("up", "--detach", "--wait", "--wait-timeout", "300", "--no-build", *arguments)

    def containers(self, service: str | None = None) -> list[dict[str, Any]]:
        """What `docker inspect` tells of the containers of a service, or of all."""
        ids = self.compose("ps", "--all", "--quiet", *([service] if service else [])).split()
        found: list[dict[str, Any]] = json.loads(self.engine.docker("inspect", *ids))
        return found

    def run_in(self, container: Mapping[str, Any], *command: str) -> str:
        """Run a command in a container. → what it printed"""
        return self.engine.docker("exec", container["Id"], *command)

    def python(self, service: str, program: str) -> str:
        """Run a Python program in the first container of a service. → what it printed"""
        return self.run_in(self.containers(service)[0], "python", "-c", program).strip()

    def kill(self, container: Mapping[str, Any]) -> None:
        """Kill -9 of the container's main process, as a crash does it, and wait until Docker has started it again."""
        restarts = container["RestartCount"]
        # Docker takes `docker kill` for a wish of the operator, and starts nothing again.
        kill = "kill -9 $(cat /proc/1/task/1/children)"
        self.engine.docker("exec", "--detach", container["Id"], "sh", "-c", kill)
        wait_until(lambda: self._inspect(container)["RestartCount"] > restarts, 60, f"{container['Name']} to restart")

    def healthy(self, container: Mapping[str, Any]) -> bool:
        """Whether its health check passes."""
        return bool(self._inspect(container)["State"]["Health"]["Status"] == "healthy")

    def _inspect(self, container: Mapping[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.engine.docker("inspect", container["Id"]))[0]
        return found

    def client(self, service: str, address: str = "127.0.0.1") -> Any:
        """boto3's client of lookoutvision or s3 at its published port; one key is for both."""
        printed = self.run_in(self.containers("api")[0], "vigil", "env")
        names = dict(re.findall(r"^export (\w+)='?([^'\n]*)'?$", printed, re.MULTILINE))
        return boto3.client(
            service,
            endpoint_url=f"http://{address}:{self.ports[service == 's3']}",
            region_name="us-east-1",
            aws_access_key_id=names["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=names["AWS_SECRET_ACCESS_KEY"],
            config=Config(retries={"total_max_attempts": 10}, s3={"addressing_style": "path"}),
        )

    def log(self) -> str:
        """The end of what all containers have printed."""
        return self.compose("logs", "--no-color", "--tail", "60")

    @property
    def secrets(self) -> dict[str, str]:
        """What .env holds."""
        return dict(re.findall(r"^(\w+)=(.*)$", (self.folder / ".env").read_text(), re.MULTILINE))


def copy_checkout(folder: Path) -> Path:
    """The files of this checkout that git knows or would take, in a folder of their own."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout
    for name in names.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@contextmanager
def running_stack(engine: Engine, folder: Path, images: Mapping[str, str], *arguments: str) -> Iterator[Stack]:
    """The stack, up and healthy; at the end it is taken down with its volumes."""
    ports = free_port(), free_port()
    variables = {**images, **QUICK, "VIGIL_PORT": str(ports[0]), "VIGIL_S3_PORT": str(ports[1])}
    with (folder / ".env").open("a") as file:
        file.writelines(f"{name}={value}\n" for name, value in variables.items())
    stack = Stack(engine, folder, ports)
    try:
        stack.up(*arguments)
        yield stack
    finally:
        stack.compose("down", "--volumes", "--timeout", "10")
