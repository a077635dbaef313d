"""What processes of a service have used, as Linux tells."""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Usage:
    """CPU time since their start (s) and resident memory (bytes) of processes, by process id."""

    cpu: dict[int, float]
    memory: dict[int, int]

    @property
    def bytes(self) -> int:
        """Resident memory of all."""
        return sum(self.memory.values())

    def since(self, earlier: "Usage") -> float:
        """CPU seconds between the two looks; of a process that ended in between, nothing."""
        return sum(seconds - earlier.cpu.get(pid, 0.0) for pid, seconds in self.cpu.items())


def usage(processes: Iterable[psutil.Process]) -> Usage:
    """Look at them now."""
    cpu, memory = {}, {}
    for process in processes:
        try:
            times = process.cpu_times()
            cpu[process.pid], memory[process.pid] = times.user + times.system, process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return Usage(cpu, memory)
