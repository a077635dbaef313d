"""What a benchmark ran on, for the head of its report."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version

import torch


def describe_machine() -> str:
    """Date, processor, cores and versions in one line."""
    processor = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine()
    )
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision"))
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {processor}, {os.cpu_count()} CPUs{device}, "
        f"Python {platform.python_version()}, {libraries}"
    )


def _cpuinfo() -> list[str]:
    try:
        with open("/proc/cpuinfo") as file:
            return file.read().splitlines()
    except OSError:
        return []
