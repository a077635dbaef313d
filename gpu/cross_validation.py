"""How what is learned from labelled images is judged: on images that it did not see."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

FOLDS = 5
_WORTH = 0.05  # of the loss: what more than the detector alone has to save, or chance would let it in half of the time

SMALLEST = 1e-6  # deviation by which anything is divided, and score of which a logarithm is taken
# Deviations over their mean by which normal images may differ: one in forty does by more. With evidence from their
# mean on, what was learned from known defects also raised normal images, above defects of kinds that nobody had shown.
# Magnetic tiles, five kinds held out, two seeds, PatchCore: mean loss of AUROC .020 from the mean on, .013 from one
# deviation on, .003 from two. It costs known kinds: with ResNet-18 toy figures with ten labelled have .976 instead of
# .989, magnetic tiles with a hundred .939 instead of .956. But a defect that was never shown is one that nobody looks
# for.
_NORMAL = 2.0

Floats = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.int64]  # 0 for a normal image, 1 for an anomalous one


def fold_of(kinds: Kinds, seed: int) -> Kinds:
    """The fold (n,) of each image, at random; every fold has its share of both kinds."""
    random, fold = np.random.default_rng(seed), np.empty(len(kinds), dtype=np.int64)
    for kind in (0, 1):
        members = random.permutation(np.flatnonzero(kinds == kind))
        fold[members] = np.arange(len(members)) % FOLDS
    return fold


def evidence_scale(normal: Floats) -> tuple[float, float]:
    """Values (n,) of unseen normal images → where evidence against an image begins, and its unit, one deviation."""
    unit = max(float(normal.std()), SMALLEST)
    return float(normal.mean()) + _NORMAL * unit, unit


def choose_strength(strengths: Sequence[float], loss: Callable[[float], float]) -> float:
    """The strength of least loss; 0 where that is hardly less than without, at strength 0."""
    losses = {strength: loss(strength) for strength in (0.0, *strengths)}
    best = min(losses, key=lambda strength: losses[strength])
    return best if losses[best] < (1 - _WORTH) * losses[0.0] else 0.0


def parting_loss(logs: Floats, kinds: Kinds) -> float:
    """How badly log scores (n,) tell the kinds apart: the logistic loss at the best threshold, both kinds alike.

    It falls while the kinds move apart, where the AUROC of kinds that are apart already stays 1.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and a replica learns nothing
    from sklearn.metrics import log_loss

    x = ((logs - logs.mean()) / max(float(logs.std()), 1e-9))[:, None]
    weights = np.where(kinds == 1, 0.5 / (kinds == 1).sum(), 0.5 / (kinds == 0).sum())
    fitted = LogisticRegression(C=1.0).fit(x, kinds, weights * len(kinds))
    return float(log_loss(kinds, fitted.predict_proba(x)[:, 1], sample_weight=weights))
