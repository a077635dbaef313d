"""What masks add to a detector: which patches look like those of known defects."""

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from gpu.anomaly_map import image_scores
from gpu.cross_validation import FOLDS, SMALLEST, choose_strength, evidence_scale, fold_of, parting_loss
from gpu.labelling import covered_cells

# Of the loss, to be saved by a head: the largest of a thousand patches finds some reason in most images. Cookies and
# magnetic tiles, three seeds: heads that made fresh images easier to tell apart saved 14 to 41 %, all others at most 6.
_WORTH = 0.1
_PENALTY = 0.01  # scikit-learn's C for standardised patches: neighbouring patches are nearly copies of each other
_MOST = 5000  # patches of each kind that are learned from


@dataclass(frozen=True)
class PatchHead:
    """A logistic regression on patch embeddings, weight (D,) and bias (), in the units of its evidence.

    It raises a patch's score by exp(strength · evidence) and never lowers it: evidence is how much larger its logit is
    than the largest of normal images, in the standard deviations of these.
    """

    weight: Tensor
    bias: Tensor
    strength: Tensor

    @classmethod
    def fit(
        cls,
        normals: Tensor,
        anomalies: Tensor,
        masks: Tensor,
        scores: tuple[Tensor, Tensor],
        image_factors: Tensor,
        seed: int = 0,
    ) -> tuple[Self, Tensor, Tensor] | None:
        """Patch embeddings (n, h, w, D) and (m, h, w, D); masks (m, H, W) at input size, above 0 inside a defect.

        scores: of the patches, (n, h, w) and (m, h, w), by a detector that saw none of the images; image_factors
        (n + m,): what a discriminator that saw none of them multiplies their image scores by, 1 without one.

        → the head and the factors (n, h, w) and (m, h, w) of images it never saw; None where the images are not told
        apart better with it than without, and where fewer than two images have a mask.
        """
        grid = (normals.shape[1], normals.shape[2])
        cells = torch.cat([covered_cells(mask > 0, grid, number) for number, mask in enumerate(masks.cpu())])
        if len(set(cells[:, 0].tolist())) < 2:
            return None
        y = np.repeat([0, 1], (len(normals), len(anomalies)))
        fold, n = torch.from_numpy(fold_of(y, seed)), len(normals)
        logits = torch.empty(len(y), *grid)
        for number in range(FOLDS):
            out = fold == number
            kept = (~out[:n]).nonzero().squeeze(1)
            weight, bias = _regress(_some_of(normals, kept, seed), _at(anomalies, cells[~out[n:][cells[:, 0]]], seed))
            for part, held in ((normals, out[:n]), (anomalies, out[n:])):
                offset = 0 if part is normals else n
                for image in held.nonzero().squeeze(1).tolist():
                    logits[offset + image] = part[image].float() @ weight + bias
        start, deviation = evidence_scale(logits[:n].flatten(1).amax(dim=1).double().numpy())
        evidence = ((logits - start) / deviation).clamp_min(0)
        patch_scores, size = torch.cat(scores), (masks.shape[1], masks.shape[2])

        def logs(raised: Tensor) -> Tensor:
            return image_scores(raised, size).clamp_min(SMALLEST).double().log()

        unit = max(float(logs(patch_scores[:n]).std()), SMALLEST)

        def loss(strength: float) -> float:
            raised = logs(patch_scores * (unit * strength * evidence).exp()) + image_factors.log()
            return parting_loss(raised.numpy(), y)

        strength = choose_strength(loss, _WORTH)
        if not strength:
            return None
        weight, bias = _regress(_some_of(normals, torch.arange(n), seed), _at(anomalies, cells, seed))
        made = cls(weight / deviation, (bias - start) / deviation, torch.tensor(unit * strength))
        factors = (unit * strength * evidence).exp()
        return made, factors[:n], factors[n:]

    @torch.no_grad()
    def factor(self, patches: Tensor) -> Tensor:
        """patches (B, h, w, D) → (B, h, w) at least 1, by which the detector's patch scores are to be multiplied."""
        return (self.strength * (patches @ self.weight + self.bias).clamp_min(0)).exp()

    def to(self, device: torch.device | str) -> Self:
        """The same head on the device."""
        return replace(self, **{name: tensor.to(device) for name, tensor in self.state().items()})

    def state(self) -> dict[str, Tensor]:
        """Its tensors by name; the constructor takes them back."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def _some_of(patches: Tensor, images: Tensor, seed: int) -> Tensor:
    """(k, D): patches of these images at random."""
    grid = patches.shape[1] * patches.shape[2]
    random = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(images) * grid, generator=random)[:_MOST]
    return patches.flatten(1, 2)[images[chosen // grid], chosen % grid]


def _at(patches: Tensor, cells: Tensor, seed: int) -> Tensor:
    """(k, D): the patches at these (image, row, column), some of them where they are many."""
    some = cells[torch.randperm(len(cells), generator=torch.Generator().manual_seed(seed))[:_MOST]]
    return patches[some[:, 0], some[:, 1], some[:, 2]]


def _regress(normals: Tensor, defects: Tensor) -> tuple[Tensor, Tensor]:
    """Patches (j, D) and (k, D) → weight (D,) and bias (); both kinds weigh the same."""
    from sklearn.linear_model import LogisticRegression  # slow to import, and a replica fits nothing

    x, y = torch.cat((normals, defects)).double().numpy(), np.repeat([0, 1], (len(normals), len(defects)))
    mean, deviation = x.mean(axis=0), x.std(axis=0) + SMALLEST
    model = LogisticRegression(C=_PENALTY, class_weight="balanced", solver="newton-cholesky")
    model.fit((x - mean) / deviation, y)
    weight = model.coef_[0] / deviation
    bias = float(model.intercept_[0] - weight @ mean)
    return torch.from_numpy(weight).float(), torch.tensor(bias, dtype=torch.float32)
