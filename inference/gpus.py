"""Which GPU a replica gets: the one with the most free memory."""

import logging
import os
import shutil
import subprocess
from collections.abc import Sequence

VISIBLE = "CUDA_VISIBLE_DEVICES"  # of a process: the only GPUs that it sees
_EACH = 2048  # MiB that a replica may take once it has loaded its model
_SECONDS = 10.0

log = logging.getLogger(__name__)


def freest(starting: Sequence[str]) -> str | None:
    """The UUID of the GPU with the most free memory; None where there is nothing to choose.

    starting: the GPUs of replicas that have not taken their memory yet. Whoever has set CUDA_VISIBLE_DEVICES has
    chosen; then replicas take their turns among those.
    """
    free = {} if VISIBLE in os.environ else _free()
    if len(free) < 2:
        return None
    return max(free, key=lambda gpu: free[gpu] - _EACH * starting.count(gpu))


def _free() -> dict[str, int]:
    """Free memory of each GPU by its UUID, in MiB, as the driver's own tool tells it."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    query = [tool, "--query-gpu=uuid,memory.free", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=_SECONDS, check=True).stdout  # noqa: S603 - no shell
        return {uuid.strip(): int(free) for uuid, free in (line.split(",") for line in told.splitlines())}
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.warning("nvidia-smi does not tell what memory is free, so replicas take GPUs in turn: %s", error)
        return {}
