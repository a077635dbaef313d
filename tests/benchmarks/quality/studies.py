"""Of decisions: what of a defect that nobody has shown, does an alarm rate hold, is confidence true?"""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import stats

from storage.options import TrainingOptions
from tests.benchmarks.arrangement import Arrangement
from tests.benchmarks.datasets import DataSet, Photo
from tests.benchmarks.finding import Finding, Requirement
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.own import run_own
from tests.benchmarks.verdicts import judge
from trainer.dataset import Sample
from trainer.evaluation import Judged
from trainer.reliability import reliability

Study = Callable[[DataSet, TrainingOptions, Path | None, int], Finding | None]

_SHOWN = 30  # labelled anomalies of the other kinds
_LABELLED = (30, 100)  # anomalies, where confidence is judged
_LEARNED, _JUDGED = 100, 100  # good parts; bad ones of the kind held out, at most
_REQUESTED = 50.0  # of 1,000 good parts
_FRESH = 200  # good parts that the alarms are counted on
_FEWEST_FRESH = 100
_FEWEST_SEEDS = 10
_TRUE = 0.05  # the expected calibration error that is allowed
_REDRAWN = 200  # kinds of all images by their own probabilities, for the error that chance alone makes
_CONFIDENCE, _HELD = 0.95, 0.9  # of the intervals, and the share of seeds whose interval must hold the rate


def unseen_kinds(data: DataSet, options: TrainingOptions, weights: Path | None, seeds: int) -> Finding | None:
    """Each kind of defect judged by a training that was shown all the others, and by one that was shown none.

    None where there are fewer than two kinds.
    """
    kinds = sorted(Counter(photo.defect for photo in data.bad if photo.defect))
    if len(kinds) < 2:
        return None
    rows, requirements = [], []
    for kind in kinds:
        gains, areas = list[float](), list[tuple[float, float]]()
        for seed in range(seeds):
            draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
            shown = _some([photo for photo in data.bad if photo.defect != kind], _SHOWN, draw)
            held = _some([photo for photo in data.bad if photo.defect == kind], _JUDGED, draw)
            train, good = _some(data.train, _LEARNED, draw), _some(data.good, _JUDGED, draw)
            arrangement = Arrangement(train, shown, (*good, *held))
            none, others = (
                judge(run_own(arrangement, count, replace(options, seed=seed), weights), arrangement.truth, []).auroc
                for count in (0, len(shown))
            )
            areas.append((none, others))
            gains.append(others - none)
        before, after = np.mean(areas, axis=0)
        rows.append((kind, f"{before:.3f}", f"{after:.3f}", f"{np.mean(gains):+.3f} ± {np.std(gains):.3f}"))
        what = f"{data.name}: AUROC of {kind}, with {_SHOWN} labelled anomalies of other kinds"
        met = bool(np.mean(gains) >= -np.std(gains) / np.sqrt(seeds) - 1e-9)
        requirements.append(Requirement(what, f"≥ {before:.3f}, within chance", f"{after:.3f}", met))
    conditions = (
        f"{data.name}, {options.backbone}, {options.detector}: at most {_LEARNED} good images to learn from; image "
        f"AUROC against at most {_JUDGED} good ones; mean of {seeds} seeds."
    )
    head = ("kind held out", "AUROC, none shown", "AUROC, others shown", "gain")
    return Finding(describe_machine(), conditions, head, rows, requirements)


def false_alarms(data: DataSet, options: TrainingOptions, weights: Path | None, seeds: int) -> Finding | None:
    """Alarms on good parts that no training saw, where `vigil:max-false-alarms` asked for a rate.

    None where there are too few good parts.
    """
    good = [*data.train, *data.good]
    if len(good) < _LEARNED + _FEWEST_FRESH:
        return None
    seeds = max(seeds, _FEWEST_SEEDS)
    rows, requirements = [], []
    for learned in sorted({_LEARNED, max(_LEARNED, len(good) - _FRESH)}):  # many leave the threshold less to chance
        held = 0
        for seed in range(seeds):
            draw = random.Random(seed)  # noqa: S311 - reproducible, not secret
            drawn = _some(good, learned + _FRESH, draw, ordered=False)
            arrangement = Arrangement(drawn[:learned], (), drawn[learned:])
            found = run_own(arrangement, 0, replace(options, max_false_alarms=_REQUESTED, seed=seed), weights)
            alarms, fresh = sum(found.decisions), len(found.decisions)
            interval = stats.binomtest(alarms, fresh).proportion_ci(_CONFIDENCE)
            inside = bool(interval.low <= _REQUESTED / 1000 <= interval.high)
            held += inside
            ends = f"{1000 * interval.low:.0f} to {1000 * interval.high:.0f}"
            rows.append((str(learned), str(seed), f"{1000 * alarms / fresh:.0f}", ends, "yes" if inside else "**no**"))
        what = f"{data.name}: seeds whose interval holds the rate, {learned} good images"
        required = f"≥ {round(_HELD * seeds)} of {seeds}"
        requirements.append(Requirement(what, required, f"{held} of {seeds}", held >= _HELD * seeds))
    conditions = (
        f"{data.name}, {options.backbone}, {options.detector}: {fresh} good images that were not learned from to count "
        f"alarms on; {_REQUESTED:g} of 1,000 were asked for. The interval is the exact one of the count (Clopper and "
        "Pearson); that the threshold itself comes from a number of images is not in it."
    )
    head = ("good images to learn from", "seed", "alarms of 1,000", f"{100 * _CONFIDENCE:.0f} % interval", "holds")
    return Finding(describe_machine(), conditions, head, rows, requirements)


def confidence(data: DataSet, options: TrainingOptions, weights: Path | None, seeds: int) -> Finding | None:
    """How far the probability of an anomaly is from the share of anomalies among the images that have it.

    None where there are too few bad parts to show some and to judge as many as good ones.
    """
    counts = [count for count in _LABELLED if len(data.bad) >= count + _JUDGED]
    if not counts or len(data.good) < _JUDGED:
        return None
    sizes = [(count, min(_LEARNED, len(data.train)), _JUDGED) for count in counts]
    whole = counts[-1], len(data.train), min(len(data.good), len(data.bad) - counts[-1])
    if whole not in sizes:
        sizes.append(whole)  # few images alone already put an error into ten bins
    rows, requirements = [], []
    for count, learned, judged in sizes:
        errors = [
            _calibration_errors(data, replace(options, seed=seed), weights, (count, learned, judged))
            for seed in range(seeds)
        ]
        rows += [
            (str(count), str(learned), str(judged), str(seed), f"{error:.3f}", f"{chance:.3f}")
            for seed, (error, chance) in enumerate(errors)
        ]
        mean = float(np.mean([error for error, _ in errors]))
        what = f"{data.name}: expected calibration error, {count} labelled anomalies, {learned} good images"
        requirements.append(Requirement(what, f"≤ {_TRUE}", f"{mean:.3f}", mean <= _TRUE))
    conditions = (
        f"{data.name}, {options.backbone}, {options.detector}; ten bins (Guo et al. 2017). By chance: the mean error "
        f"of {_REDRAWN} draws in which each image is anomalous with just the probability that it was given."
    )
    head = ("labelled anomalies", "good images to learn from", "judged of each kind", "seed", "error", "by chance")
    return Finding(describe_machine(), conditions, head, rows, requirements)


def _calibration_errors(
    data: DataSet, options: TrainingOptions, weights: Path | None, sizes: tuple[int, int, int]
) -> tuple[float, float]:
    """The error, and what it would be on average if every probability were right."""
    count, learned, judged = sizes
    draw = random.Random(options.seed)  # noqa: S311 - reproducible, not secret
    bad = _some(data.bad, count + judged, draw, ordered=False)
    train, good = _some(data.train, learned, draw), _some(data.good, judged, draw)
    arrangement = Arrangement(train, bad[:count], (*good, *bad[count:]))
    found = run_own(arrangement, count, options, weights)
    verdicts = zip(arrangement.test, found.scores, found.probabilities, found.decisions, strict=True)
    items = [
        Judged(Sample(str(photo.path), photo.defect is not None, None, {}), *verdict) for photo, *verdict in verdicts
    ]
    generator = np.random.default_rng(options.seed)
    redrawn = [[_redrawn(item, generator) for item in items] for _ in range(_REDRAWN)]
    return _error(items), float(np.mean([_error(drawn) for drawn in redrawn]))


def _redrawn(item: Judged, generator: np.random.Generator) -> Judged:
    return replace(item, sample=replace(item.sample, anomalous=bool(generator.random() < item.probability)))


def _error(items: Sequence[Judged]) -> float:
    return float(reliability(items)["ExpectedCalibrationError"])


STUDIES: dict[str, tuple[str, Study]] = {
    "kinds": ("Kinds of defects that nobody has shown", unseen_kinds),
    "alarms": ("False alarms, asked for and measured", false_alarms),
    "confidence": ("How far confidence is to be believed", confidence),
}


def _some(photos: Sequence[Photo], most: int, draw: random.Random, *, ordered: bool = True) -> tuple[Photo, ...]:
    chosen = draw.sample(range(len(photos)), min(most, len(photos)))
    return tuple(photos[index] for index in (sorted(chosen) if ordered else chosen))
