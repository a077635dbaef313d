"""What the tests of the pretraining share: a few small rendered images."""

import numpy as np
import numpy.typing as npt
import pytest

from gpu.pretraining.scenes import render


@pytest.fixture(scope="session")
def images() -> npt.NDArray[np.uint8]:
    """(6, 256, 256, 3) uint8."""
    return np.stack([render(seed, 256) for seed in range(6)])
