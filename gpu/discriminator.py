"""What labelled anomalies add to a detector: how their images as a whole differ from normal ones."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize, special
from torch import Tensor

_STRENGTHS = (0.001, 0.01, 0.1, 1.0)  # of the fit against the penalty; cross-validation chooses
_FOLDS = 5

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Discriminator:
    """A penalised logistic regression, weight (2D,) and bias (), on the mean and deviation of an image's patches.

    It raises a detector's score, at most to twice, and never lowers it: a defect of a kind that no training image shows
    keeps the score that the detector gives it.
    """

    weight: Tensor
    bias: Tensor

    @classmethod
    def fit(cls, normals: Tensor, anomalies: Tensor, seed: int = 0) -> tuple[Self, Tensor, Tensor]:
        """Descriptors (n, 2D) and (m, 2D) → the discriminator, and the factors (n,) and (m,) of images it never saw.

        The fit has the strength of least cross-validated loss. Raises ValueError for fewer than two of a kind.
        """
        if min(len(normals), len(anomalies)) < 2:
            raise ValueError("a discriminator needs at least two images of each kind")
        x = torch.cat((normals, anomalies)).double().cpu().numpy()
        y = np.repeat([0.0, 1.0], (len(normals), len(anomalies)))
        order = np.random.default_rng(seed)
        fold = np.empty(len(y), dtype=np.int64)  # stratified: each fold has its share of both kinds
        for kind in (0.0, 1.0):
            members = order.permutation(np.flatnonzero(y == kind))
            fold[members] = np.arange(len(members)) % _FOLDS
        unseen = {strength: _unseen(x, y, fold, strength) for strength in _STRENGTHS}
        best = min(_STRENGTHS, key=lambda strength: _loss(unseen[strength], y))
        weight, bias = _regress(x, y, best)
        factors = torch.from_numpy(_factor(unseen[best]))
        made = cls(torch.from_numpy(weight).float(), torch.tensor(bias, dtype=torch.float32))
        return made, factors[: len(normals)], factors[len(normals) :]

    @torch.no_grad()
    def factor(self, patches: Tensor) -> Tensor:
        """patches (B, h, w, D) → (B,) in 1 to 2, by which the detector's image scores are to be multiplied."""
        return 2 ** torch.sigmoid(describe(patches) @ self.weight + self.bias)

    def to(self, device: torch.device | str) -> "Discriminator":
        """The same discriminator on the device."""
        return Discriminator(self.weight.to(device), self.bias.to(device))


@torch.no_grad()
def describe(patches: Tensor) -> Tensor:
    """patches (B, h, w, D) → mean and standard deviation over the image (B, 2D)."""
    cells = patches.flatten(1, 2)
    return torch.cat((cells.mean(dim=1), cells.std(dim=1, correction=0)), dim=1)


def _unseen(x: Floats, y: Floats, fold: "npt.NDArray[np.int64]", strength: float) -> Floats:
    """The logit of each image by a regression on the other folds."""
    logits = np.zeros(len(y))
    for number in range(_FOLDS):
        out = fold == number
        if out.any():
            weight, bias = _regress(x[~out], y[~out], strength)
            logits[out] = x[out] @ weight + bias
    return logits


def _regress(x: Floats, y: Floats, strength: float) -> tuple[Floats, float]:
    """Weight (2D,) and bias of the penalised fit; both kinds count as if equally frequent."""
    mean, deviation = x.mean(axis=0), x.std(axis=0) + 1e-6
    scaled, share = (x - mean) / deviation, _shares(y)

    def objective(parameters: Floats) -> tuple[float, Floats]:
        weight, bias = parameters[:-1], parameters[-1]
        logits = scaled @ weight + bias
        slope = share * (special.expit(logits) - y)
        loss = share @ (np.logaddexp(0, logits) - y * logits) + weight @ weight / (2 * strength)
        return float(loss), np.append(slope @ scaled + weight / strength, slope.sum())

    found: Floats = optimize.minimize(objective, np.zeros(x.shape[1] + 1), jac=True, method="L-BFGS-B").x
    weight: Floats = found[:-1] / deviation
    return weight, float(found[-1] - weight @ mean)


def _shares(y: Floats) -> Floats:
    """Weights that sum to the number of images, half of it for each kind."""
    anomalous = y.mean()
    shares: Floats = np.where(y == 1, 0.5 / anomalous, 0.5 / (1 - anomalous))
    return shares


def _loss(logits: Floats, y: Floats) -> float:
    return float(_shares(y) @ (np.logaddexp(0, logits) - y * logits))


def _factor(logits: Floats) -> Floats:
    factor: Floats = np.exp2(special.expit(logits))
    return factor
