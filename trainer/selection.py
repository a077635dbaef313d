"""The way of deciding that a training takes: the one its options name, or the best of those that suit its images."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from gpu.backbone import Backbone, default_layers
from gpu.memory_plan import Budget
from gpu.selection import COPIES, FEWEST_ANOMALIES, Candidate, Comparison, Trial, candidates, choose, cost
from storage.options import AUTO, TrainingOptions
from trainer.dataset import Sample, network_input
from trainer.reading import Progress, Reading

_PLAIN_SIZE = 256  # shorter side of the network's input
_LARGER_SIZES = (384, 512)  # where the images have as many pixels
_SMALL = 500  # images: a smaller training takes seconds, and comparing may take what it may for that many
_MOST = 60  # images of each kind in the sample: more hardly make a difference surer
_FEWEST = 20  # normal images that tell candidates apart
_MEMORY = 0.5  # of the budget, for the patch embeddings of the sample


@dataclass(frozen=True)
class Choice:
    """The candidate that a training takes, and the trials that it won; none where there was nothing to choose."""

    candidate: Candidate
    trials: tuple[Trial, ...] = ()
    synthetic: bool = False
    sample: tuple[int, int] = (0, 0)  # normal images and anomalies

    def report(self) -> list[dict[str, object]]:
        """Every candidate with its figures, for the evaluation result."""
        return [
            {
                "Candidate": trial.candidate.name,
                "Chosen": trial.candidate == self.candidate,
                "ROCAUC": trial.auroc,
                "Gain": trial.gain,
                "StandardError": trial.error,
            }
            for trial in self.trials
        ]


def choose_candidate(
    reading: Reading,
    train: Sequence[Sample],
    dimensions: Mapping[str, tuple[int, int]],
    backbone: Backbone,
    options: TrainingOptions,
    spending: float,
    budget: Budget,
    progress: Progress,
) -> Choice:
    """Compare candidates on a sample of the training images, where the options leave the detector open.

    spending: how many times the cost of one training the comparison may take. With 0 nothing is compared, nor with
    fewer than 20 normal images, among which chance would choose. The cost is counted in images and pixels and not in
    seconds, so that the choice is the same on every machine.
    """
    layers = default_layers(backbone.name)
    sizes = _sizes(train, dimensions, options)
    named = Candidate("patchcore" if options.detector == AUTO else options.detector, layers, sizes[0])
    normal, anomalous = ([sample for sample in train if sample.anomalous == kind] for kind in (False, True))
    copies = COPIES if len(anomalous) < FEWEST_ANOMALIES else 0
    compared = candidates(layers, sizes, synthetic=bool(copies))
    bad = 0 if copies else min(len(anomalous), _MOST)
    allowed = spending * max(_SMALL, len(train))
    while len(compared) > 1 and _count(compared, allowed, copies, bad) < _FEWEST:
        compared = compared[:-1]
    if options.detector != AUTO or len(normal) < _FEWEST or len(compared) == 1:
        return Choice(named)
    chooser = random.Random(options.seed)  # noqa: S311 - reproducible, not secret
    count = min(len(normal), _count(compared, allowed, copies, bad))
    size = network_input(list(dimensions.values()), max(one.image_size for one in compared))
    shown: list[Tensor] = []
    samples = [*_some(normal, count, chooser), *_some(anomalous, bad, chooser)]
    for item in reading.prepared(samples, size, None):
        shown.append(item.image)
        progress("Reading images to compare detectors", len(shown) / len(samples))
    images = torch.stack(shown)
    comparison = Comparison(backbone, images[:count], images[count:], options.seed, int(_MEMORY * budget.memory))
    trained = [dimensions[sample.reference] for sample in train]
    trials = comparison.run(
        compared,
        lambda side: network_input(trained, side),
        lambda done: progress("Comparing detectors", done),
    )
    if not trials:  # too little memory even for the plain candidate, of which the training itself will tell
        return Choice(named)
    best = choose(trials)
    return Choice(best.candidate, tuple(trials), bool(copies), (count, len(samples) - count))


def _sizes(train: Sequence[Sample], dimensions: Mapping[str, tuple[int, int]], options: TrainingOptions) -> list[int]:
    """Shorter sides of the network's input that are worth trying, rising: none beyond the pixels that there are."""
    if options.image_size is not None:
        return [options.image_size]
    side = median(min(dimensions[sample.reference]) for sample in train)
    return [_PLAIN_SIZE, *(size for size in _LARGER_SIZES if size <= side)]


def _count(compared: Sequence[Candidate], allowed: float, copies: int, bad: int) -> int:
    """Normal images in the sample, with `copies` of each or `bad` anomalies beside them, for what may be spent."""
    return min(_MOST, int((allowed / cost(compared) - bad) / (1 + copies)))


def _some(samples: Sequence[Sample], count: int, chooser: random.Random) -> list[Sample]:
    return [samples[index] for index in sorted(chooser.sample(range(len(samples)), min(count, len(samples))))]
