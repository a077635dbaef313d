"""Which images of a folder the demonstration trains with, and which it keeps back to show to the trained model."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from api.cli.folder import Sample, read_folder
from api.cli.terminal import CommandError
from storage.settings import Settings

SEED = 7
_UNSEEN_PART = 0.2
_MOST_SHOWN = 30  # unseen images per class: a table that is still read


@dataclass(frozen=True)
class Plan:
    """Which images train, which make a test data set of their own, and which are shown to the trained model."""

    train: Sequence[Sample]
    test: Sequence[Sample]
    unseen: Sequence[Sample]


def make_plan(folder: Path, settings: Settings, *, rendered: bool = False) -> Plan:
    """Divide the images of a folder. Raises CommandError where there are too few to train with and to show."""
    found = read_folder(folder, labelled=True, max_bytes=settings.max_image_bytes)
    chance = random.Random(SEED)  # noqa: S311 - the same choice each time is what is wanted
    train, test = found.samples["train"], found.samples["test"]
    minimum = {"normal": settings.min_normal_images, "anomaly": settings.min_anomaly_images}
    enough = all(_count(train, label) >= least for label, least in minimum.items())
    if rendered or (enough and test):
        return Plan(train, (), _shown(test, chance))
    if test:
        with_test = settings.min_normal_images_with_test
        if (
            _count(train, "normal") < with_test
            or min(_count(test, label) for label in minimum) < settings.min_test_images
        ):
            raise CommandError(
                f"{folder} has {_counts(train)} below train/ and {_counts(test)} below test/. Needed are {with_test} "
                f"normal images to train with, and {settings.min_test_images} of each kind below test/."
            )
        return Plan(train, test, _shown(test, chance))
    unseen: list[Sample] = []
    for label, least in minimum.items():
        of_label = [sample for sample in train if sample.label == label]
        kept_back = min(round(_UNSEEN_PART * len(of_label)), len(of_label) - least)
        if kept_back < 1:
            raise CommandError(
                f"{folder} has {_counts(train)}. Needed are at least {minimum['normal'] + 1} normal and "
                f"{minimum['anomaly'] + 1} anomalous: {minimum['normal']} and {minimum['anomaly']} to train with, "
                "and one of each to show to the trained model."
            )
        unseen += chance.sample(of_label, kept_back)
    return Plan([sample for sample in train if sample not in unseen], (), _shown(unseen, chance))


def _shown(samples: Sequence[Sample], chance: random.Random) -> list[Sample]:
    """At most so many images of each class, in the order of their names."""
    chosen: list[Sample] = []
    for label in ("normal", "anomaly"):
        of_label = [sample for sample in samples if sample.label == label]
        chosen += sorted(chance.sample(of_label, min(len(of_label), _MOST_SHOWN)), key=lambda sample: sample.name)
    return chosen


def _count(samples: Sequence[Sample], label: str) -> int:
    return sum(sample.label == label for sample in samples)


def _counts(samples: Sequence[Sample]) -> str:
    return f"{_count(samples, 'normal')} normal and {_count(samples, 'anomaly')} anomalous images"
