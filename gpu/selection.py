"""Which way of deciding suits the parts: candidates, compared by cross-validation inside the training images."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from gpu.anomaly_map import image_scores
from gpu.backbone import STAGES, Backbone
from gpu.detector import keeps_bank
from gpu.ensemble import Ensemble
from gpu.fitting import Recipe
from gpu.images import resize
from gpu.padim import PaDiM
from gpu.patch_embedding import STRIDE, Embedding
from gpu.patchcore import PatchCore
from gpu.synthetic_anomalies import spoil

FEWEST_ANOMALIES = 10  # labelled ones, to compare by them rather than by synthetic ones
_FOLDS = 3
_BATCH = 8
COPIES = 2  # synthetic anomalies of each normal image
_RATIO = 0.01  # of the patches that a trial's memory bank keeps
_DRAWS = 500  # of the images, to tell a difference from chance
_SURE, _SURER = 2.0, 3.0  # standard errors by which a candidate must beat the plain one; one that has more patches
_LEVEL = 1.0  # standard errors within which candidates are as good as the best one (Breiman et al., CART, §3.4.3)

_SEARCH = 0.1  # of embedding an image: searching the bank for the plain candidate, on a CPU

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidate:
    """A way of deciding: detector, layers of the backbone, grid, shorter side of the network's input, whitening."""

    detector: str
    layers: tuple[str, ...]
    image_size: int
    stride: int = STRIDE
    whitened: bool = False

    @property
    def cells(self) -> float:
        """Patches of a square image."""
        return (self.image_size / self.stride) ** 2

    @property
    def embedding(self) -> tuple[object, ...]:
        """What candidates share that embed images alike."""
        return self.layers, self.stride, self.image_size

    def recipe(self, coreset_ratio: float, seed: int, alarms: float | None = None) -> Recipe:
        """How a detector of it is trained, on trial as in earnest."""
        return Recipe(self.detector, coreset_ratio, seed, alarms, self.whitened)

    @property
    def name(self) -> str:
        """All of it in a few words."""
        words = [self.detector, "+".join(self.layers), f"{self.image_size} px", f"stride {self.stride}"]
        return ", ".join(words + ["whitened"] * self.whitened)


@dataclass(frozen=True)
class Trial:
    """What a candidate reached on images that its detectors had not seen, and its advantage over the plain candidate.

    `auroc` and `gain` are areas under the ROC curve, `error` is the standard error of the gain, `draws` are the areas
    on images drawn again and again, the same for all trials.
    """

    candidate: Candidate
    auroc: float
    gain: float
    error: float
    draws: Floats = field(repr=False, compare=False)


def candidates(layers: tuple[str, ...], sizes: Sequence[int], *, synthetic: bool) -> list[Candidate]:
    """What is compared: the plain one first, which needs no proof, and each size with all that it is tried with.

    Plain are PatchCore and PaDiM together. Where parts lie alike, drawn defects hardly show how much better PaDiM is
    with real ones; where they lie anyhow, they show clearly how much worse. So it is PatchCore alone that has to prove
    itself. Test AUROC of both, of PatchCore and of PaDiM, with vigil-s, and what drawn defects said of PatchCore
    against both (gain, standard error), two seeds: cookie .986, .958, 1.0 (.037 ± .027); the same photographs turned
    at random .917, .925, .879 (.061 ± .022); toy figures .998, .969, 1.0 (.015 ± .020), turned .650, .826, .606
    (.100 ± .027).

    layers: those that the backbone's architecture is used with by default; sizes: shorter sides of the input, rising;
    synthetic: whether synthetic anomalies are the measure.
    """
    plain = Candidate(Ensemble.name, layers, sizes[0])
    found = []
    for size in sizes:
        of_size = replace(plain, image_size=size)
        bank = replace(of_size, detector=PatchCore.name)
        found += [of_size, bank, replace(of_size, detector=PaDiM.name), replace(bank, whitened=True)]
    # A finer grid sees small defects where a larger image would show nothing more. All synthetic defects are small.
    if len(sizes) == 1 and not synthetic:
        found.append(Candidate(PatchCore.name, STAGES, sizes[0], STRIDE // 2))
    return found


def cost(compared: Sequence[Candidate]) -> float:
    """What it costs to try them all on one image, where embedding an image for the first of them costs 1.

    Embedding grows with the pixels; the search in a memory bank grows with the patches of the image and of the bank,
    and costs PaDiM nothing, which has no bank.
    """
    first, embedded, total = compared[0], set(), 0.0
    for one in compared:
        pixels, cells = (one.image_size / first.image_size) ** 2, one.cells / first.cells
        if one.embedding not in embedded:
            embedded.add(one.embedding)
            total += pixels
        if keeps_bank(one.detector):
            total += _SEARCH * cells**2
    return total


def choose(trials: Sequence[Trial]) -> Trial:
    """The plain candidate, the first, unless others are surely better; of those that are as good as the best the first.

    Nothing is won by the best of many that differ by chance, and what costs a multiple in service has to be worth it.
    """
    plain = trials[0].candidate
    better = [
        trial
        for trial in trials
        if trial.gain > (_SURE if trial.candidate.cells <= plain.cells else _SURER) * trial.error
    ]
    if not better:
        return trials[0]
    best = max(better, key=lambda trial: trial.gain)
    return next(one for one in better if best.gain - one.gain <= _LEVEL * float((best.draws - one.draws).std()))


class Comparison:
    """Trials on one sample of the training images; the same arguments give the same figures.

    Normal images and anomalies are scored alike by detectors that learned from two thirds of the normal ones, and saw
    neither. Labelled anomalies are the measure where there are ten of them; with fewer, synthetic ones are, made from
    the normal images and scored by the detectors that did not see those.
    """

    def __init__(self, backbone: Backbone, normals: Tensor, anomalies: Tensor, seed: int, memory: int) -> None:
        """Prepared images uint8 (n, 3, H, W) and (m, 3, H, W), at the largest size that a candidate takes.

        A candidate whose patch embeddings of the sample take more than `memory` bytes is not tried.

        The backbone must have all its layers. Raises ValueError for fewer than three normal images.
        """
        if len(normals) < _FOLDS:
            raise ValueError(f"at least {_FOLDS} normal images are needed to compare detectors, not {len(normals)}")
        self._backbone, self._seed, self._memory, self._normals = backbone, seed, memory, len(normals)
        fold, random = torch.arange(len(normals)) % _FOLDS, np.random.default_rng(seed)
        self._drawn = _counts(random, len(normals))
        if len(anomalies) < FEWEST_ANOMALIES:
            anomalies = spoil(normals, COPIES, seed)
            fold_of_anomalies, self._drawn_anomalies = (
                fold.repeat_interleave(COPIES),
                self._drawn.repeat(COPIES, axis=1),
            )
        else:
            fold_of_anomalies = torch.arange(len(anomalies)) % _FOLDS
            self._drawn_anomalies = _counts(random, len(anomalies))
        self._images, self._fold = torch.cat((normals, anomalies)), torch.cat((fold, fold_of_anomalies))
        self._embedded: tuple[tuple[object, ...], Tensor] | None = None

    def run(
        self,
        compared: Sequence[Candidate],
        size_of: Callable[[int], tuple[int, int]],
        progress: Callable[[float], None],
    ) -> list[Trial]:
        """A trial of each in turn; the first is the plain one.

        A larger input is tried only where the one before was better than the smaller ones. size_of: shorter side →
        (H, W) of the network's input. progress gets the fraction done.
        """
        trials: list[Trial] = []
        for number, candidate in enumerate(compared):
            if _worth_trying(candidate, trials):
                found = self._try(candidate, size_of(candidate.image_size))
                if found is not None:
                    plain = trials[0] if trials else found
                    error = float((found.draws - plain.draws).std())
                    trials.append(replace(found, gain=found.auroc - plain.auroc, error=error))
            progress((number + 1) / len(compared))
        self._embedded = None
        return trials

    def _try(self, candidate: Candidate, size: tuple[int, int]) -> Trial | None:
        patches, n = self._embed(candidate, size), self._normals
        if patches is None:
            return None
        scores = np.empty(len(patches))
        for fold in range(_FOLDS):
            detector = candidate.recipe(_RATIO, self._seed).create().to(self._backbone.device)
            detector.fit(patches, (self._fold[:n] != fold).nonzero().squeeze(1))
            for part in torch.split((self._fold == fold).nonzero().squeeze(1), _BATCH):
                scores[part.numpy()] = image_scores(detector.score(patches[part]), size).cpu().numpy()
        higher = np.sign(scores[n:] - scores[:n, None]) / 2 + 0.5  # (n, m), a half where they are equal
        draws = ((self._drawn @ higher) * self._drawn_anomalies).sum(axis=1) / higher.size
        return Trial(candidate, float(higher.mean()), 0.0, 0.0, draws)

    def _embed(self, candidate: Candidate, size: tuple[int, int]) -> Tensor | None:
        """(n + m, h, w, D) of the sample, kept for the next candidate, which often needs the same; None if too much."""
        if self._embedded is None or self._embedded[0] != candidate.embedding:
            self._embedded = None  # two of them may not fit into memory
            embedding = Embedding(self._backbone.using(candidate.layers), candidate.stride)
            resized = (
                torch.stack([resize(image, size) for image in part]) for part in torch.split(self._images, _BATCH)
            )
            one = embedding.embed(resize(self._images[0], size).unsqueeze(0))
            if one.numel() * torch.float16.itemsize * len(self._images) > self._memory:
                return None
            self._embedded = candidate.embedding, embedding.embed_all(resized, len(self._images))
        return self._embedded[1]


def _worth_trying(candidate: Candidate, trials: Sequence[Trial]) -> bool:
    sizes = sorted(
        {trial.candidate.image_size for trial in trials if trial.candidate.image_size < candidate.image_size}
    )
    if len(sizes) < 2:
        return True
    gains = [max(trial.gain for trial in trials if trial.candidate.image_size == size) for size in sizes]
    return gains[-1] > max(gains[:-1])


def _counts(random: np.random.Generator, images: int) -> Floats:
    """(draws, images): how often each image is drawn where as many are drawn with replacement (Efron's bootstrap)."""
    return random.multinomial(images, np.full(images, 1 / images), size=_DRAWS).astype(np.float64)
