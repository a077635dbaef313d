"""Clients in environments of their own, as `make clients` installs them, and how tests run them."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.service import Service

HERE = Path(__file__).parent
ENVIRONMENTS = HERE.parents[1] / ".venv-clients"


def needs(client: str) -> pytest.MarkDecorator:
    """Skips a test where the environment of this client is not there."""
    there = (ENVIRONMENTS / client / ".ready").exists()
    return pytest.mark.skipif(not there, reason=f"{client} is not tested: `make clients` installs it")


def run(
    client: str, program: str, *arguments: str, environment: Mapping[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program of a client's environment. It finds the service by environment variables alone."""
    # No configuration of the machine's user gets in, and no Python path of this test run.
    own = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "PYTHON"))},
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    command = [str(ENVIRONMENTS / client / "bin" / program), *arguments]
    return subprocess.run(command, env=own | environment, cwd=folder, capture_output=True, text=True, timeout=540)


def journey(client: str, script: str, *arguments: str, service: Service, folder: Path, **environment: str) -> str:
    """Run a script of this folder with a client's Python, in `folder`. → what it printed"""
    done = run(
        client,
        "python",
        str(HERE / script),
        *arguments,
        environment=service.exports() | environment,
        folder=folder,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout
