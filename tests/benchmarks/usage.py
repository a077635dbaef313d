"""What a process has used so far. It needs the standard library only, as anomalib's environment has no more of ours.

Memory is read from /proc rather than from getrusage, whose peak a process inherits from the one that started it.
"""

import json
import resource
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class Meter:
    """Counts from where it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), cpu_seconds()

    def read(self) -> dict[str, float]:
        """Wall and CPU seconds (user and system) since then, and the peak RSS of the whole process in bytes."""
        return {
            "wall": time.perf_counter() - self._wall,
            "cpu": cpu_seconds() - self._cpu,
            "peak": memory("VmHWM"),
        }


def cpu_seconds() -> float:
    """User and system time of this process and of those of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(part.ru_utime + part.ru_stime for part in used)


def memory(field: str, process: int | str = "self") -> int:
    """Bytes of a line of /proc/PROCESS/status: VmRSS is what is resident now, VmHWM the most that ever was."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def answer(parts: Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]) -> None:
    """Do the part that the command line names, with job.json of the folder that it names; write answer.json there."""
    part, folder = sys.argv[1], Path(sys.argv[2])
    found = parts[part](json.loads((folder / "job.json").read_text()))
    (folder / "answer.json").write_text(json.dumps(found))
