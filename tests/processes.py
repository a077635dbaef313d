"""Processes that are not ours to hold: any of them may end while it is looked at."""

from collections.abc import Iterable
from contextlib import suppress

import psutil


def alive(process: psutil.Process) -> bool:
    """Whether it runs; one that ended and is not collected yet does not."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def any_alive(processes: Iterable[psutil.Process]) -> bool:
    return any(alive(process) for process in processes)


def below(pid: int, *words: str) -> list[psutil.Process]:
    """Living processes below one, whose command lines hold all these words, each as a part of an argument."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            line = process.cmdline()  # empty once it has ended
            if line and all(any(word in argument for argument in line) for word in words):
                found.append(process)
    return found


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill -9 of those that still run."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
