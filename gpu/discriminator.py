"""What labelled anomalies add to a detector: how their images as a whole differ from normal ones."""

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from gpu.calibration import Floats, Kinds
from gpu.cross_validation import FOLDS, SMALLEST, choose_strength, evidence_scale, fold_of, parting_loss

_PENALTY = 10.0  # scikit-learn's C: descriptors are standardised, so the usual range of 1 to 100 holds for all data
_LEAST_VARYING = 0.01  # of the mean deviation: rounding alone moves a number that never varied, and is not to count
_MOST_NORMALS = 2000  # learned from; the time grows with the square of their number


@dataclass(frozen=True)
class Discriminator:
    """A support-vector machine with Gaussian kernel on an image's description: support vectors (S, 3D), weights (S,).

    It raises a detector's score by exp(strength · evidence) and never lowers it: evidence is how much farther beyond
    the decision surface an image is than normal ones are, in their standard deviations. A defect of a kind that no
    training image shows is far from all support vectors and keeps about the score that the detector gives it.
    """

    mean: Tensor  # (3D,) of the descriptions, which are standardised by it
    deviation: Tensor  # (3D,)
    support: Tensor  # (S, 3D), standardised
    weights: Tensor  # (S,), in the units of the evidence
    offset: Tensor  # ()
    strength: Tensor  # ()

    @classmethod
    def fit(
        cls, normals: Tensor, anomalies: Tensor, normal_scores: Tensor, anomaly_scores: Tensor, seed: int = 0
    ) -> tuple[Self, Tensor, Tensor] | None:
        """Descriptions (n, 3D) and (m, 3D), and scores (n,) and (m,) by a detector that saw none of the images.

        → the discriminator, and the factors (n,) and (m,) of images it never saw; None where it does not tell them
        apart better than the detector alone. Raises ValueError for fewer than two of a kind.
        """
        if min(len(normals), len(anomalies)) < 2:
            raise ValueError("a discriminator needs at least two images of each kind")
        x = torch.cat((normals, anomalies)).double().cpu().numpy()
        y = np.repeat([0, 1], (len(normals), len(anomalies)))
        logs = torch.cat((normal_scores, anomaly_scores)).double().clamp_min(SMALLEST).log().cpu().numpy()
        values = _unseen(x, y, seed)
        start, deviation = evidence_scale(values[y == 0])
        evidence = np.maximum((values - start) / deviation, 0)
        unit = max(float(logs[y == 0].std()), SMALLEST)
        strength = choose_strength(lambda s: parting_loss(logs + unit * s * evidence, y))
        if not strength:
            return None
        machine = _Machine.fit(x, y, seed)
        made = cls(
            mean=torch.from_numpy(machine.mean).float(),
            deviation=torch.from_numpy(machine.deviation).float(),
            support=torch.from_numpy(machine.support).float(),
            weights=torch.from_numpy(machine.weights / deviation).float(),
            offset=torch.tensor((machine.offset - start) / deviation, dtype=torch.float32),
            strength=torch.tensor(unit * strength, dtype=torch.float32),
        )
        factors = torch.from_numpy(np.exp(unit * strength * evidence))
        return made, factors[: len(normals)], factors[len(normals) :]

    @torch.no_grad()
    def factor(self, patches: Tensor) -> Tensor:
        """patches (B, h, w, D) → (B,) at least 1, by which the detector's image scores are to be multiplied."""
        described = (describe(patches) - self.mean) / self.deviation
        kernel = torch.exp(-torch.cdist(described, self.support).square() / self.support.shape[1])
        return torch.exp(self.strength * (kernel @ self.weights + self.offset).clamp_min(0))

    def to(self, device: torch.device | str) -> Self:
        """The same discriminator on the device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self.state().items()})

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name; the constructor takes them back."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@torch.no_grad()
def describe(patches: Tensor) -> Tensor:
    """patches (B, h, w, D) → mean, standard deviation and maximum over the image (B, 3D)."""
    cells = patches.flatten(1, 2).float()
    return torch.cat((cells.mean(dim=1), cells.std(dim=1, correction=0), cells.amax(dim=1)), dim=1)


@dataclass(frozen=True)
class _Machine:
    """A fitted machine: value = Σ weights · exp(−|x − support|² / 3D) + offset, x standardised."""

    mean: Floats
    deviation: Floats
    support: Floats
    weights: Floats
    offset: float

    @classmethod
    def fit(cls, x: Floats, y: Kinds, seed: int) -> Self:
        from sklearn.svm import SVC  # slow to import, and a replica fits nothing

        kept = np.flatnonzero(y == 0)
        if len(kept) > _MOST_NORMALS:
            kept = np.sort(np.random.default_rng(seed).permutation(kept)[:_MOST_NORMALS])
        rows = np.concatenate((kept, np.flatnonzero(y == 1)))
        mean, deviation = x[rows].mean(axis=0), x[rows].std(axis=0)
        deviation += _LEAST_VARYING * deviation.mean() + SMALLEST
        machine = SVC(C=_PENALTY, gamma=1 / x.shape[1], class_weight="balanced")
        machine.fit((x[rows] - mean) / deviation, y[rows])
        return cls(mean, deviation, machine.support_vectors_, machine.dual_coef_[0], float(machine.intercept_[0]))

    def values(self, x: Floats) -> Floats:
        """Signed distances (n,) of the descriptions (n, 3D) from the decision surface, positive for anomalies."""
        scaled = (x - self.mean) / self.deviation
        squares = (scaled**2).sum(1)[:, None] + (self.support**2).sum(1) - 2 * scaled @ self.support.T
        found: Floats = np.exp(-squares / x.shape[1]) @ self.weights + self.offset
        return found


def _unseen(x: Floats, y: Kinds, seed: int) -> Floats:
    """The value of each image by a machine fitted on the other folds."""
    fold, values = fold_of(y, seed), np.zeros(len(y))
    for number in range(FOLDS):
        out = fold == number
        if out.any():
            values[out] = _Machine.fit(x[~out], y[~out], seed).values(x[out])
    return values
