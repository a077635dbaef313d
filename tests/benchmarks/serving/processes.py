"""What processes of a service have used, as Linux tells."""

from collections.abc import Iterable
from dataclasses import dataclass

import psutil


class Company:
    """How much of the machine's CPU time goes to programs that are not below this one; looks from its making on."""

    def __init__(self) -> None:
        self._busy, self._all, self._own = _times()

    def share(self) -> float:
        """Of all CPU time of all cores: figures are worth little where it is much."""
        busy, everything, own = _times()
        others = busy - self._busy - (own - self._own)
        return max(0.0, others / max(everything - self._all, 1e-9))


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


def _times() -> tuple[float, float, float]:
    """Seconds that the cores were busy, all their seconds, and those that this process and all below it have used."""
    cores, this = psutil.cpu_times(), psutil.Process()
    everything = sum(cores) - getattr(cores, "guest", 0.0) - getattr(cores, "guest_nice", 0.0)
    own = 0.0
    for process in (this, *this.children(recursive=True)):
        try:
            own += sum(process.cpu_times()[:4])  # with what its children had used when they ended
        except psutil.NoSuchProcess:
            continue
    return everything - cores.idle - cores.iowait, everything, own
