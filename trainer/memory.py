"""How much memory a training may still take: the machine's, or less in a container with a limit."""

from pathlib import Path

import psutil
import torch

from gpu.memory_plan import Budget

_SHARE = 0.6  # of what is free: the rest is for images, workspaces and other processes
_CGROUPS = Path("/sys/fs/cgroup")
_INTERFACES = (  # directory, limit, usage, and what of the usage is cache that the kernel takes back by itself
    ("", "memory.max", "memory.current", "inactive_file"),
    ("memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def available_memory(cgroups: Path = _CGROUPS) -> int:
    """Bytes that can be had without swapping, and without being ended for exceeding the container's limit."""
    available = int(psutil.virtual_memory().available)
    for directory, limit, usage, cache in _INTERFACES:
        try:
            most = (cgroups / directory / limit).read_text().strip()
            used = int((cgroups / directory / usage).read_text())
            statistics = dict(line.split() for line in (cgroups / directory / "memory.stat").read_text().splitlines())
        except FileNotFoundError:
            continue  # the other version of the interface, or no container
        if most != "max":
            available = min(available, max(0, int(most) - used + int(statistics[cache])))
    return available


def training_budget(device: torch.device, gib: float | None) -> Budget:
    """What the patch embeddings of a training may take: `gib`, or a share of what is free; of a GPU, always a share."""
    memory = int(available_memory() * _SHARE) if gib is None else int(gib * 2**30)
    if device.type != "cuda":
        return Budget(memory)
    return Budget(memory, int(torch.cuda.mem_get_info(device)[0] * _SHARE))
