"""Which device computes, and how to make it compute the same thing twice."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def select_device(index: int | None = None) -> torch.device:
    """cuda:index (default 0) where CUDA is available, else the CPU.

    Raises ValueError for an index the machine does not have.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count = torch.cuda.device_count()
    if not 0 <= (index or 0) < count:
        raise ValueError(f"GPU {index} was asked for, but this machine has {count} (numbered from 0)")
    # TF32 keeps 10 bits of the mantissa: a score would differ by about 1e-3 between a GPU and a CPU.
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return torch.device("cuda", index or 0)


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """Seed torch's and numpy's global generators and switch deterministic algorithms on; restore both afterwards.

    On CUDA, cuBLAS is deterministic only where the process was started with CUBLAS_WORKSPACE_CONFIG=:4096:8;
    without it torch warns rather than fails, because the rest still holds.
    """
    numpy_state = np.random.get_state()
    enabled, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(enabled, warn_only=warn_only)
            np.random.set_state(numpy_state)
