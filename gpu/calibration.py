"""Image score → decision and probability; anomaly map → mask. Learned from training images only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from scipy import special
from torch import Tensor

from gpu.pixel_histogram import PixelHistogram

Scores = TypeVar("Scores", Tensor, npt.NDArray[np.floating])
Floats = npt.NDArray[np.float64]
Kinds = npt.NDArray[np.int64]  # 0 for a normal image, 1 for an anomalous one

_FEWEST_ANOMALIES = 3  # below that one odd image would move the threshold anywhere
_RARE = float(special.ndtr(-3.0))  # one-sided, 0.13 %: the three-sigma limit of a control chart (Shewhart)
# Share of good parts that may be reported where no anomalies were shown. Between detectors of AUROC .90 and .999 none
# much different misses the F1 of the best threshold by less (normally distributed scores, as many bad parts as good).
_ALARMS = 0.1
# Of the slope's prior, per standard deviation of the log scores (Gelman et al., Annals of Applied Statistics 2008).
# Targets a little off 0 and 1 (Platt 1999) keep the slope finite, too, but those of few anomalies are farther off than
# those of many normal images: with ten known anomalies they held the threshold of magnetic tiles too high, mean F1 .79
# instead of .82 (two backbones, four seeds), and confidence was too low everywhere.
_WIDTH = 2.5
_TOLERANCE = 1e-8  # of the regression's gradient: the same model from scores that differ by rounding
_FLAT = 0.1  # slope per standard deviation of the log scores under which they do not tell the kinds apart
_TYPICAL = 0.01  # P(anomaly) of the median normal image where there are no anomalies to learn the slope from
_SMALLEST = 1e-12  # scores are distances and can be 0; their logarithm cannot
_SPREAD = 0.02  # least deviation of log scores: below it, differences are numerical noise
_QUARTILES = 1.349  # deviations between the quartiles of a normal distribution
_EDGE = 2.5  # deviations from the median; of a hundred normal images one is beyond, and the spread loses 2 %
_NORMAL_PIXELS = 0.999  # share of normal pixels under the pixel threshold where there are no masks


@dataclass(frozen=True)
class Calibration:
    """The decision rule of a model: an image is anomalous where its score exceeds the threshold."""

    threshold: float
    slope: float
    pixel_threshold: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) and v > 0 for v in (self.threshold, self.slope, self.pixel_threshold)):
            raise ValueError(f"threshold, slope and pixel threshold must be positive and finite: {self}")

    def probability(self, scores: Scores) -> Scores:
        """P(anomaly) = sigmoid(slope · log(score / threshold)): 0.5 at the threshold, rising with the score."""
        if isinstance(scores, Tensor):
            ratio = (scores.double() / self.threshold).clamp_min(_SMALLEST)
            return torch.sigmoid(self.slope * ratio.log()).to(scores.dtype)
        logs = np.log(np.maximum(scores.astype(np.float64) / self.threshold, _SMALLEST))
        return (1 / (1 + np.exp(np.clip(-self.slope * logs, -700, 700)))).astype(scores.dtype)

    def is_anomalous(self, score: float) -> bool:
        """Whether an image with that score is to be reported."""
        return score > self.threshold


def calibrate(
    normal_scores: Sequence[float], anomaly_scores: Sequence[float], alarms: float | None = None
) -> tuple[float, float]:
    """(threshold, slope) from the image scores of training images, each scored by a detector that never saw it.

    With at least three anomalies a logistic regression on log scores gives both. Without anomalies the threshold is the
    score that one normal image in ten exceeds: a good part looked at twice costs less than a bad one shipped. It also
    limits the threshold of the regression, for a defect unlike the known ones need not score as high as they do; the
    more of them are known, the rarer is the normal image at the limit, down to one in 740. `alarms`, where given, is
    the share of normal images that may exceed the threshold, whatever the anomalies score.

    Raises ValueError for fewer than two normal scores.
    """
    if len(normal_scores) < 2:
        raise ValueError(f"at least two normal images are needed to set a threshold, not {len(normal_scores)}")
    normal, anomalous = _logs(normal_scores), _logs(anomaly_scores)
    parted = _part(normal, anomalous)
    if parted is not None and alarms is None:
        rare = max(_RARE, _ALARMS * _FEWEST_ANOMALIES / len(anomalous))
        return math.exp(min(parted[0], _prediction_limit(normal, rare))), parted[1]
    limit = _prediction_limit(normal, _ALARMS) if alarms is None else _counted_limit(normal, alarms)
    distance = max(limit - float(np.median(normal)), _SPREAD)
    slope = math.log(1 / _TYPICAL - 1) / distance if parted is None else parted[1]
    return math.exp(limit), slope


def calibrate_pixels(histogram: PixelHistogram) -> float:
    """The map value above which a pixel belongs to a defect.

    With masks the value of the best pixel IoU; without, the value that one normal pixel in a thousand exceeds. Raises
    ValueError for an empty histogram.
    """
    if not int(histogram.inside.sum() + histogram.outside.sum()):
        raise ValueError("no anomaly map was added to the histogram")
    inside, outside = histogram.inside.double(), histogram.outside.double()
    above = outside.flip(0).cumsum(0).flip(0)  # pixels outside every mask, at or above each bin's lower edge
    if not int(inside.sum()):
        return histogram.edge(min(int((above > (1 - _NORMAL_PIXELS) * above[0]).sum()), len(above) - 1))
    found = inside.flip(0).cumsum(0).flip(0)
    return histogram.edge(int((found / (inside.sum() + above)).argmax()))


def regress(scores: Floats, kinds: Kinds, width: float) -> tuple[float, float]:
    """Standardised log scores (n,), kinds (n,) → slope and intercept of the log odds, both kinds alike likely.

    width: deviation of the slope's prior distribution, which is normal and keeps it finite for kinds that are apart.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import, and a replica learns nothing

    fitted = LogisticRegression(C=width**2, class_weight="balanced", tol=_TOLERANCE).fit(scores[:, None], kinds)
    return float(fitted.coef_[0, 0]), float(fitted.intercept_[0])


def _logs(scores: Sequence[float]) -> Floats:
    return np.log(np.maximum(np.asarray(scores, dtype=np.float64), _SMALLEST))


def _counted_limit(normal: Floats, share: float) -> float:
    """The log score that the next normal image exceeds with this probability, whatever the distribution.

    An order statistic (Wilks 1941), but never the highest: one odd photograph is not to open the limit for bad parts.
    Where even the second highest is exceeded more often, the limit for a normal distribution tells how far above it.
    """
    second = 2 / (len(normal) + 1)
    limit = float(np.quantile(normal, 1 - max(share, second), method="weibull"))
    return limit if share >= second else max(limit, _prediction_limit(normal, share))


def _prediction_limit(normal: Floats, share: float) -> float:
    """The log score that the next normal image exceeds with this probability, were log scores normally distributed.

    From Student's t (Hahn and Meeker, Statistical Intervals, §4.7), which widens the limit honestly for few images. A
    score far from most counts as one at their edge (winsorised): odd photographs among those to learn from must not
    open the limit for bad parts. Of magnetic tiles with their heavier tails 8 % exceed it where 5 % are asked for.
    """
    n = len(normal)
    low, middle, high = np.quantile(normal, (0.25, 0.5, 0.75))
    edge = _EDGE * max(float(high - low) / _QUARTILES, _SPREAD)
    held = np.clip(normal, middle - edge, middle + edge)
    spread = max(float(held.std(ddof=1)), _SPREAD)
    return float(held.mean()) - float(special.stdtrit(n - 1, share)) * spread * math.sqrt(1 + 1 / n)


def _part(normal: Floats, anomalous: Floats) -> tuple[float, float] | None:
    """The log score at which both kinds are equally likely, and the slope there; None where scores tell too little."""
    if len(anomalous) < _FEWEST_ANOMALIES:
        return None
    logs = np.concatenate((normal, anomalous))
    middle, spread = float(logs.mean()), max(float(logs.std()), _SPREAD)
    slope, intercept = regress((logs - middle) / spread, np.repeat([0, 1], (len(normal), len(anomalous))), _WIDTH)
    return None if slope < _FLAT else (middle - intercept / slope * spread, slope / spread)
