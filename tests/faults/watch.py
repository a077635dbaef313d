"""Watches the trainers' logs: which process worked on which training, from when to when."""

import re
import threading
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import psutil

_LINE = re.compile(
    r"^(?P<time>\S+ \S+) training\[(?P<pid>\d+)\] \w+ \S+: job (?P<job>\S+) (?P<what>\(train\) begins|waits)",
    re.MULTILINE,
)
_RESOLUTION = 0.05
_TIME_FORMAT = "%Y-%m-%d %H:%M:%S,%f"


@dataclass
class TrainingWatch:
    """Started with the logs that it reads; `overlaps` tells of trainings that two processes did at once."""

    logs: list[Path]
    _died: dict[int, datetime] = field(default_factory=dict)
    _ended: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def trainings(self) -> int:
        """How often a worker began one."""
        return sum(what != "waits" for _, _, _, what in self._events())

    def overlaps(self) -> list[str]:
        """One line per training that a process began while another one was still at it."""
        found, holders = [], dict[str, tuple[int, datetime | None]]()
        for time, pid, job, what in self._events():
            if what == "waits":
                holders[job] = pid, time
                continue
            other, end = holders.get(job, (None, None))
            if other is not None and other != pid:
                end = end or self._died.get(other)
                if end is None or (end - time).total_seconds() > 2 * _RESOLUTION:
                    found.append(
                        f"job {job}: process {pid} began at {time:%X.%f}, process {other} was at it until {end}"
                    )
            holders[job] = pid, None
        return found

    def _events(self) -> list[tuple[datetime, int, str, str]]:
        texts = [log.read_text(errors="replace") for log in self.logs if log.exists()]
        lines = [match for text in texts for match in _LINE.finditer(text)]
        return sorted(
            (datetime.strptime(line["time"], _TIME_FORMAT), int(line["pid"]), line["job"], line["what"])
            for line in lines
        )

    def _run(self) -> None:
        while not self._ended.wait(_RESOLUTION):
            for _, pid, _, _ in self._events():
                if pid not in self._died and not _lives(pid):
                    self._died[pid] = datetime.now()


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
