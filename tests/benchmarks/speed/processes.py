"""Measured parts, each in a process of its own: Vigil's in this environment, anomalib's in that of its own."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.benchmarks.baseline import baseline_environment

_PROGRAM = Path(__file__).parents[1] / "anomalib_speed_program.py"


def run_own(part: str, job: dict[str, Any], settings: Mapping[str, str | None] | None = None) -> dict[str, Any]:
    """The answer of one of PARTS in tests.benchmarks.speed.program. Raises CalledProcessError.

    settings: environment variables; None is one that is not to be there.
    """
    command = [sys.executable, "-m", "tests.benchmarks.speed.program", part]
    environment = {**os.environ, **(settings or {})}
    return _run(command, job, {name: value for name, value in environment.items() if value is not None})


def run_baseline(python: Path, part: str, job: dict[str, Any]) -> dict[str, Any]:
    """The answer of one of the parts of anomalib_speed_program. Raises CalledProcessError."""
    return _run([str(python), str(_PROGRAM), part], job, baseline_environment())


def _run(command: list[str], job: dict[str, Any], environment: dict[str, str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="speed-") as name:
        folder = Path(name)
        (folder / "job.json").write_text(json.dumps(job))
        # anomalib writes into the folder it runs in, and is told the part's own.
        where = folder if str(_PROGRAM) in command else None
        subprocess.run([*command, str(folder)], check=True, env=environment, cwd=where)
        found: dict[str, Any] = json.loads((folder / "answer.json").read_text())
    return found
