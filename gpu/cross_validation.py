"""How what is learned from labelled images is judged: on images that it did not see."""

from collections.abc import Callable

import numpy as np

from gpu.calibration import Floats, Kinds, regress

FOLDS = 5
SMALLEST = 1e-6  # deviation by which anything is divided, and score of which a logarithm is taken
# Evidence is how far beyond normal images an image is, against the detector's own, both in deviations of normal ones.
# What was learned from known defects also raises some normal images, above defects of kinds that nobody has shown, and
# these are the ones that nobody looks for. Magnetic tiles, two backbones, four seeds, mean AUROC of the discriminator:
# of five kinds held out .907 without and with these constants, .903 with a strength of 2, too; of known kinds with 10,
# 30 and 100 labelled .906 without, .910, .930 and .945 with these, .912, .934 and .952 with evidence from one deviation
# on. That raises the same few normal images so far that the limit against unknown defects is too low for them: toy
# figures, six splits, F1 .948 instead of .960.
_NORMAL = 1.5  # deviations over their mean by which normal images may differ without that being evidence
_STRENGTHS = (0.25, 0.5, 1.0)
_WIDTH = 1.0  # of the prior of the regression by which strengths are compared: hardly more than the scores show
_WORTH = 0.01  # of the loss, to be saved: most of what descriptions that tell nothing save is less


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


def choose_strength(loss: Callable[[float], float], worth: float = _WORTH) -> float:
    """The least strength, 0 among them, from which a greater one saves no more than this share of the loss without."""
    losses = {strength: loss(strength) for strength in (0.0, *_STRENGTHS)}
    enough = min(losses.values()) + worth * losses[0.0]
    return next(strength for strength, reached in losses.items() if reached <= enough)


def parting_loss(logs: Floats, kinds: Kinds) -> float:
    """How badly log scores (n,) tell the kinds apart: the logistic loss at the best threshold, both kinds alike.

    It falls while the kinds move apart, where the AUROC of kinds that are apart already stays 1.
    """
    scores = (logs - logs.mean()) / max(float(logs.std()), SMALLEST)
    slope, intercept = regress(scores, kinds, _WIDTH)
    losses = np.logaddexp(0, np.where(kinds == 1, -1, 1) * (slope * scores + intercept))
    return float(losses[kinds == 0].mean() + losses[kinds == 1].mean()) / 2
