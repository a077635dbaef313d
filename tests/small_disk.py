"""A real disk that is soon full: a file system in memory, mounted for a test. Needs root."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_STEP = 4096


class SmallDisk:
    """A mounted file system with a ballast that takes up its room."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Take all room but so many bytes."""
        with self._ballast.open("ab", buffering=0) as file:
            room = shutil.disk_usage(self.folder).free - leave
            file.write(bytes(max(0, room)))
            while not leave:
                try:
                    file.write(bytes(_STEP))
                except OSError:
                    return

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[SmallDisk]:
    """Mount a disk of this size on a new folder. Skips the test where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("a full disk is not tested: mounting a small one needs root")
    folder.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=0700", "tmpfs", str(folder)]
    answer = subprocess.run(mount, capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip(f"a full disk is not tested: a small one cannot be mounted here ({answer.stderr.strip()})")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
