"""Matrix products, by the library that is fastest for them on the device."""

import torch
from torch import Tensor
from torch.nn import functional


def products(rows: Tensor, columns: Tensor, offset: Tensor | None = None) -> Tensor:
    """float32 rows (N, D), columns (M, D), offset (M,) → rows · columnsᵀ + offset, (N, M).

    On a CPU as a convolution with kernels of one pixel: torch gives matrices to MKL, which uses AVX-512 on Intel's
    processors alone, and convolutions to oneDNN, which uses it on all of them (on an AMD EPYC twice as fast).
    """
    if rows.device.type != "cpu":
        return rows @ columns.T if offset is None else torch.addmm(offset, rows, columns.T)
    pixels, kernels = _channels_last(rows.unsqueeze(0)), _channels_last(columns.unsqueeze(1))
    return functional.conv2d(pixels, kernels, offset).permute(0, 2, 3, 1).reshape(len(rows), len(columns))


def _channels_last(vectors: Tensor) -> Tensor:
    """(a, b, D) → (a, D, b, 1), of which the D values of each pixel lie side by side, as they did."""
    return vectors.contiguous().unsqueeze(2).permute(0, 3, 1, 2)
