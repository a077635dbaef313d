"""A MinIO server for the tests, on a free port with a folder of its own."""

import base64
import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from storage.settings import Settings
from tests.conftest import free_port, wait_until

PROGRAM = shutil.which("minio", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


@dataclass
class Minio:
    """A running server. `process` may be killed and started again on the same folder."""

    folder: Path
    port: int
    secret: str
    user: str = "vigil-tests"
    encryption_key: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(32)).decode())
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it takes requests."""
        assert PROGRAM is not None
        environment = {**os.environ, "MINIO_ROOT_USER": self.user, "MINIO_ROOT_PASSWORD": self.secret}
        # Without a key MinIO refuses the objects that clients ask to be encrypted (ServerSideEncryption="AES256").
        environment["MINIO_KMS_SECRET_KEY"] = f"tests:{self.encryption_key}"
        command = [PROGRAM, "server", "--quiet", "--address", f"127.0.0.1:{self.port}", str(self.folder)]
        self.process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._live, 60, "MinIO to take requests")

    def kill(self) -> None:
        """Kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def settings(self, data_dir: Path) -> Settings:
        """Settings of a process whose objects lie here."""
        return Settings(
            data_dir=data_dir,
            objects_url=self.url,
            objects_access_key=self.user,
            objects_secret_key=self.secret,  # type: ignore[arg-type]
        )

    def _live(self) -> bool:
        try:
            return httpx.get(f"{self.url}/minio/health/ready", timeout=2).is_success
        except httpx.HTTPError:
            return False


@contextmanager
def running_minio(folder: Path) -> Iterator[Minio]:
    """A server that is ended with the block."""
    server = Minio(folder, free_port(), secrets.token_hex(16))
    server.start()
    try:
        yield server
    finally:
        server.kill()
