"""The memory that a training may take, from files as the kernel shows them to a container."""

from pathlib import Path

import psutil
import pytest

from trainer.memory import available_memory

MIB = 2**20


def write(folder: Path, limit: str, most: str, usage: str, used: int, cache: str, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / limit).write_text(f"{most}\n")
    (folder / usage).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\n{cache} {cached}\n")


def test_the_limit_of_a_container_counts_less_what_it_uses(tmp_path: Path) -> None:
    write(tmp_path, "memory.max", str(100 * MIB), "memory.current", 60 * MIB, "inactive_file", 20 * MIB)
    assert available_memory(tmp_path) == 60 * MIB


def test_the_older_interface_is_read_too(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    usage = "memory.usage_in_bytes"
    write(folder, "memory.limit_in_bytes", str(100 * MIB), usage, 70 * MIB, "total_inactive_file", 0)
    assert available_memory(tmp_path) == 30 * MIB


def test_a_container_over_its_limit_has_none_left(tmp_path: Path) -> None:
    write(tmp_path, "memory.max", str(MIB), "memory.current", 2 * MIB, "inactive_file", 0)
    assert available_memory(tmp_path) == 0


@pytest.mark.parametrize("most", ["max", str(2**63 - 4096)])
def test_without_a_limit_the_machine_counts(tmp_path: Path, most: str) -> None:
    write(tmp_path, "memory.max", most, "memory.current", MIB, "inactive_file", 0)
    assert 0 < available_memory(tmp_path) <= psutil.virtual_memory().total
    assert 0 < available_memory(tmp_path / "nothing") <= psutil.virtual_memory().total
