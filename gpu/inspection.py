"""The one scoring path: what training evaluates with is what a replica serves."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu.anomaly_map import anomaly_map, peak
from gpu.calibration import Calibration
from gpu.detector import Detector
from gpu.discriminator import Discriminator
from gpu.explanation import Region, Source, explain
from gpu.labelling import DefectBank
from gpu.patch_embedding import Embedding
from gpu.patch_head import PatchHead

_TOLERANCE = 1e-3  # relative difference of scores that another device or library version may make
_FAINT = 0.9  # of its peak: what is marked in an anomalous image whose whole map is under the pixel threshold


class SelfTestError(Exception):
    """This machine does not reproduce the scores that were stored at training."""


@dataclass(frozen=True)
class Inspection:
    """What was found in one image; the maps (H, W) have the size of the network's input and are on the CPU.

    `regions` is None unless an explanation was asked for, and empty where the image is normal.
    """

    score: float
    probability: float
    is_anomalous: bool
    anomaly_map: Tensor
    label_map: Tensor | None
    regions: tuple[Region, ...] | None = None


@dataclass(frozen=True)
class References:
    """Prepared images uint8 (R, 3, H, W) with the scores and decisions that training found for them."""

    images: Tensor
    scores: tuple[float, ...]
    decisions: tuple[bool, ...]


class Inspector:
    """Embedding, detector and calibration together; input_size is (H, W).

    With a patch head and a discriminator it also uses what masks and labelled anomalies taught, with a defect bank it
    names defects. `sources` are the normal training images in the order in which the detector learned from them;
    explanations name them.
    """

    def __init__(
        self,
        embedding: Embedding,
        detector: Detector,
        calibration: Calibration,
        input_size: tuple[int, int],
        defect_bank: DefectBank | None = None,
        references: References | None = None,
        discriminator: Discriminator | None = None,
        sources: tuple[Source, ...] = (),
        patch_head: PatchHead | None = None,
    ) -> None:
        self.embedding, self.input_size, self.calibration = embedding, input_size, calibration
        self.detector = detector.to(embedding.device)
        self.defect_bank = defect_bank.to(embedding.device) if defect_bank else None
        self.discriminator = discriminator.to(embedding.device) if discriminator else None
        self.patch_head = patch_head.to(embedding.device) if patch_head else None
        self.references, self.sources = references, sources

    @torch.no_grad()
    def inspect(self, images: Tensor | Sequence[Tensor], explained: Collection[int] = ()) -> list[Inspection]:
        """Prepared images uint8 (B, 3, h, w), or a sequence of (3, h, w) → one Inspection each.

        `explained` are the positions of the images whose regions are to be told.

        A batch scores as its images one by one, to 1e-5 relative. Raises ValueError for another size.
        """
        batch = images if isinstance(images, Tensor) else torch.stack(list(images))
        if tuple(batch.shape[1:]) != (3, *self.input_size):
            raise ValueError(f"images {tuple(batch.shape[1:])} were not prepared for the input {self.input_size}")
        patches = self.embedding.embed(batch)
        patch_scores = self.detector.score(patches)
        if self.patch_head is not None:
            patch_scores = patch_scores * self.patch_head.factor(patches)
        maps = anomaly_map(patch_scores, self.input_size)
        scores, maps = peak(maps), maps.cpu()
        if self.discriminator is not None:
            scores = scores * self.discriminator.factor(patches)
        exact = scores.double().cpu()
        return [
            self._result(score, probability, maps[i], patches[i], i in explained)
            for i, (score, probability) in enumerate(
                zip(exact.tolist(), self.calibration.probability(exact).tolist(), strict=True)
            )
        ]

    def self_test(self, references: References | None = None) -> float:
        """Score the stored reference images again → the largest relative difference found.

        Raises SelfTestError where it exceeds 1e-3 or a decision differs, ValueError where there are no references.
        """
        references = references or self.references
        if references is None:
            raise ValueError("no reference images are stored with this model")
        worst = 0.0
        found = self.inspect(references.images)
        for number, (score, decision, now) in enumerate(
            zip(references.scores, references.decisions, found, strict=True), start=1
        ):
            difference = abs(now.score - score) / max(abs(score), 1e-12)
            worst = max(worst, difference)
            if not difference <= _TOLERANCE or now.is_anomalous != decision:
                raise SelfTestError(
                    f"Reference image {number} scored {score:.6g} ({_word(decision)}) at training and scores "
                    f"{now.score:.6g} ({_word(now.is_anomalous)}) on {self.embedding.device}. This machine would not "
                    "decide as the trained model does; check its GPU, driver and torch version."
                )
        return worst

    def _result(self, score: float, probability: float, values: Tensor, patches: Tensor, explained: bool) -> Inspection:
        anomalous = self.calibration.is_anomalous(score)
        # An anomalous image always has a region to show.
        threshold = min(self.calibration.pixel_threshold, _FAINT * float(values.max()))
        labels, regions = None, None
        if self.defect_bank is not None:
            labels = torch.zeros(values.shape, dtype=torch.uint8)
            if anomalous:
                labels = self.defect_bank.label_regions(patches, values, threshold)
        if explained:
            regions = explain(patches, values, threshold, self.detector, self.sources) if anomalous else ()
        return Inspection(score, probability, anomalous, values, labels, regions)


def _word(anomalous: bool) -> str:
    return "anomalous" if anomalous else "normal"
