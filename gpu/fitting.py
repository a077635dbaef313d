"""From the patch embeddings of a training set to an inspector: folds, calibration, final detector."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu.anomaly_map import anomaly_map, image_scores
from gpu.calibration import Calibration, calibrate, calibrate_pixels
from gpu.cross_validation import FOLDS
from gpu.detector import Detector, create_detector
from gpu.discriminator import Discriminator, describe
from gpu.ensemble import Ensemble
from gpu.inspection import Inspector
from gpu.labelling import DefectBank
from gpu.normals import Normals
from gpu.patch_embedding import Embedding
from gpu.patch_head import PatchHead
from gpu.patchcore import PatchCore
from gpu.pixel_histogram import PixelHistogram

_BATCH = 8  # images scored at a time


@dataclass(frozen=True)
class Recipe:
    """How to train: the detector, the share of patches its memory bank keeps, and the seed of all that is random.

    `alarms` is the share of good parts that may be reported, where that and not the anomalies sets the threshold.
    `whitened` is for PatchCore's patches.
    """

    detector: str = "patchcore"
    coreset_ratio: float = 0.02  # magnetic tiles, mean AUROC of 4 splits at 1, 2, 5, 10 %: .822, .848, .852, .850
    seed: int = 0
    alarms: float | None = None
    whitened: bool = False

    def create(self) -> Detector:
        """An unfitted detector. Raises ValueError for settings that make none."""
        return create_detector(self.detector, coreset_ratio=self.coreset_ratio, seed=self.seed, whitened=self.whitened)


@torch.no_grad()
def fit_inspector(
    embedding: Embedding,
    recipe: Recipe,
    normals: Normals,
    anomalies: Tensor,
    masks: Tensor | None,
    labels: Mapping[str, str],
    input_size: tuple[int, int],
    progress: Callable[[str, float], None],
) -> Inspector:
    """Patch embeddings of normal and anomalous (m, h, w, D) training images → a calibrated Inspector.

    masks: label ids uint8 (m, H, W) at input size, or None; labels: name → colour, in the order of the ids. The
    threshold comes from cross-validation: a detector of each fold scores the normal images it never saw, so that no
    patch is scored by a bank that contains it; the final detector, which saw no anomaly, scores the anomalies.
    """
    judged, all_judged = normals.judged, len(normals.judged) == len(normals.patches)
    patches = normals.patches if all_judged else normals.patches[judged]
    normal_patch_scores = torch.empty(patches.shape[:3])
    folds = normals.fold[normals.images[judged]]
    for fold in range(normals.folds):
        held_out = (folds == fold).nonzero().squeeze(1)
        if len(held_out):
            detector = _teach(recipe, normals, embedding.device, without=fold)
            normal_patch_scores[held_out] = _score(detector, patches, held_out)
        progress("calibrating", (fold + 1) / normals.folds)
    progress("fitting", 0.0)
    final = _teach(recipe, normals, embedding.device, progress=lambda fraction: progress("fitting", fraction))
    progress("fitting", 1.0)
    anomaly_patch_scores = _score(final, anomalies, torch.arange(len(anomalies)))
    discriminator, patch_head, factors = None, None, torch.ones(len(patches) + len(anomalies), dtype=torch.float64)
    normal_scores, anomaly_scores = (image_scores(s, input_size) for s in (normal_patch_scores, anomaly_patch_scores))
    if len(anomalies) >= FOLDS:  # fewer tell where the threshold is, but not how anomalies look
        described = _describe(patches), _describe(anomalies)
        taught = Discriminator.fit(*described, normal_scores, anomaly_scores, recipe.seed)
        if taught is not None:
            discriminator, factors = taught[0], torch.cat(taught[1:])
        # The head comes second and has to add something to the discriminator: taken first, it was kept on magnetic
        # tiles where it told fresh images worse apart, because it saw what the discriminator sees better.
        patch_scores = normal_patch_scores, anomaly_patch_scores
        shown = None if masks is None else PatchHead.fit(patches, anomalies, masks, patch_scores, factors, recipe.seed)
        if shown is not None:
            patch_head = shown[0]
            normal_patch_scores, anomaly_patch_scores = (s * f for s, f in zip(patch_scores, shown[1:], strict=True))
            normal_scores = image_scores(normal_patch_scores, input_size)
            anomaly_scores = image_scores(anomaly_patch_scores, input_size)
    normal_scores, anomaly_scores = normal_scores * factors[: len(patches)], anomaly_scores * factors[len(patches) :]
    threshold, slope = calibrate(normal_scores.tolist(), anomaly_scores.tolist(), recipe.alarms)
    histogram, bank = PixelHistogram(), None
    marked = torch.empty(0, dtype=torch.int64) if masks is None else masks.flatten(1).any(dim=1).nonzero().squeeze(1)
    if masks is not None and len(marked):
        for part in torch.split(marked, _BATCH):
            histogram.add(anomaly_map(anomaly_patch_scores[part], input_size), masks[part])
        bank = DefectBank.build(anomalies[marked], masks[marked], labels, recipe.seed)
    else:
        for part in torch.split(normal_patch_scores, _BATCH):
            histogram.add(anomaly_map(part, input_size))
    calibration = Calibration(threshold, slope, calibrate_pixels(histogram))
    return Inspector(
        embedding, final, calibration, input_size, bank, discriminator=discriminator, patch_head=patch_head
    )


def _teach(
    recipe: Recipe,
    normals: Normals,
    device: torch.device,
    *,
    without: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> Detector:
    """A detector that learned from all folds but one."""
    detector = recipe.create().to(device)
    if not normals.parts:
        detector.fit(normals.patches, normals.kept(without), progress)
        return detector
    parts = [part for fold, part in enumerate(normals.parts) if fold != without]
    images = len(normals.fold) - (0 if without is None else int((normals.fold == without).sum()))
    for member in detector.members if isinstance(detector, Ensemble) else (detector,):
        if isinstance(member, PatchCore):
            picks = member.bank_rows(images, normals.patches.shape[1] * normals.patches.shape[2])
            member.merge(
                torch.cat([part.rows for part in parts]), torch.cat([part.origins for part in parts]), picks, progress
            )
        else:
            member.fit(normals.patches, normals.kept(without))
    return detector


def _score(detector: Detector, patches: Tensor, images: Tensor) -> Tensor:
    """Patch scores (k, h, w) of the images with these indices, on the CPU."""
    scores = torch.empty(len(images), *patches.shape[1:3])
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        scores[part] = detector.score(patches[images[part]]).cpu()
    return scores


def _describe(patches: Tensor) -> Tensor:
    """(n, 3D), in batches because the deviation copies its input."""
    return torch.cat([describe(part) for part in torch.split(patches, _BATCH)])
