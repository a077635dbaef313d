"""One running service for the tests of the command line, and the command line itself as users call it."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.service import VIGIL, Service, running_service


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that all these tests use; each leaves it running."""
    with running_service(tmp_path_factory.mktemp("service")) as started:
        yield started


def vigil(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    return subprocess.run(
        [VIGIL, *arguments], capture_output=True, text=True, timeout=240, env={**os.environ, **environment}
    )


def where(service: Service) -> list[str]:
    """The options that name a service."""
    return ["--data-dir", str(service.data_dir), "--port", str(service.port)]
