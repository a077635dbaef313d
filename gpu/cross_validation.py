"""How what is learned from labelled images is judged: on images that it did not see."""

import numpy as np
import numpy.typing as npt

FOLDS = 5

Floats = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.int64]  # 0 for a normal image, 1 for an anomalous one


def fold_of(kinds: Kinds, seed: int) -> Kinds:
    """The fold (n,) of each image, at random; every fold has its share of both kinds."""
    random, fold = np.random.default_rng(seed), np.empty(len(kinds), dtype=np.int64)
    for kind in (0, 1):
        members = random.permutation(np.flatnonzero(kinds == kind))
        fold[members] = np.arange(len(members)) % FOLDS
    return fold


def auroc(scores: npt.NDArray[np.floating], kinds: Kinds) -> float:
    """The share of pairs of images in which the anomaly scores higher; ties count half."""
    normal, anomalous = scores[kinds == 0], scores[kinds == 1][:, None]
    return float((anomalous > normal).mean() + (anomalous == normal).mean() / 2)
