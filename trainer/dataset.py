"""Data sets as training sees them: labelled samples, their split, and the anomaly labels of their masks."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from gpu.images import input_size
from storage.errors import ManifestError
from storage.manifest import LABELS, Mask, parse_line
from storage.objects import OWN_BUCKET, Objects
from storage.settings import Settings

MOST_ANOMALY_LABELS = 100


class TrainingError(Exception):
    """The training cannot be done with these data; the message tells the user why and what to change."""


@dataclass(frozen=True)
class Sample:
    """A labelled image. `content` is its manifest line; only anomalous images have a `mask`."""

    reference: str
    anomalous: bool
    mask: Mask | None
    content: Mapping[str, object] = field(repr=False)


@dataclass(frozen=True)
class Labels:
    """Anomaly labels in the order of their ids, from 1; those after the first `trained` are only in the test set."""

    colours: Mapping[str, str]
    trained: int

    @property
    def of_model(self) -> dict[str, str]:
        """Name → colour, of the labels that the model can find."""
        return dict(list(self.colours.items())[: self.trained])

    def ids(self, mask: Mask) -> tuple[int, ...]:
        """The ids of a mask's own labels, in the mask's order."""
        names = list(self.colours)
        return tuple(names.index(name) + 1 for name in mask.colours)


def read_snapshot(objects: Objects, key: str) -> list[Sample]:
    """The labelled samples of a frozen data set, in its order. Raises ObjectError, and TrainingError for a bad line."""
    samples = []
    for number, line in enumerate(objects.get(OWN_BUCKET, key).decode().splitlines(), 1):
        try:
            parsed = parse_line(line)
        except ManifestError as error:
            raise TrainingError(f"Entry {number} of the data set {error}.") from None
        if parsed.label in LABELS:
            anomalous = parsed.label == "anomaly"
            samples.append(Sample(parsed.source_ref, anomalous, parsed.mask if anomalous else None, parsed.content))
    return samples


def split(samples: Sequence[Sample], fraction: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """(training part, test part), each in the order of the samples; the same for the same samples and seed.

    Of either class the given fraction goes to the test part, but at least one sample, and never the last one.
    """
    chooser = random.Random(seed)  # noqa: S311 - reproducible, not secret
    chosen: set[int] = set()
    for anomalous in (False, True):
        members = [index for index, sample in enumerate(samples) if sample.anomalous == anomalous]
        count = min(max(1, round(fraction * len(members))), len(members) - 1)
        chosen.update(chooser.sample(members, max(count, 0)))
    train = [sample for index, sample in enumerate(samples) if index not in chosen]
    return train, [samples[index] for index in sorted(chosen)]


def check_counts(train: Sequence[Sample], test: Sequence[Sample] | None, settings: Settings) -> None:
    """Raise TrainingError where a class has fewer images than training or evaluation needs."""
    if test is None:
        _enough("training data set", train, settings.min_normal_images, settings.min_anomaly_images)
    else:
        _enough("training data set", train, settings.min_normal_images_with_test, 0)
        _enough("test data set", test, settings.min_test_images, settings.min_test_images)


def merge_labels(train: Sequence[Sample], test: Sequence[Sample]) -> Labels | None:
    """The anomaly labels of all masks; None where no training image has a mask, which makes a classification model.

    Raises TrainingError where a label has two colours or a colour two labels, since an answer could not be read then.
    """
    colours: dict[str, str] = {}
    trained = 0
    for samples in (train, test):
        for sample in samples:
            for name, colour in (sample.mask.colours if sample.mask else {}).items():
                _agree(sample, name, colour, colours)
                colours.setdefault(name, colour)
        trained = trained or len(colours)
        if not trained:
            return None
    if len(colours) > MOST_ANOMALY_LABELS:
        raise TrainingError(
            f"The masks have {len(colours)} anomaly labels; at most {MOST_ANOMALY_LABELS} are allowed in a project."
        )
    return Labels(colours, trained)


def network_input(dimensions: Sequence[tuple[int, int]], image_size: int) -> tuple[int, int]:
    """(H, W) of the network's input for images of these (width, height): that of the median aspect ratio."""
    ratio = median(width / height for width, height in dimensions)
    # The nearest real image decides, so that images of one size are never distorted by a rounded ratio.
    width, height = min(dimensions, key=lambda size: (abs(size[0] / size[1] - ratio), size))
    return input_size(width, height, image_size)


def _enough(what: str, samples: Sequence[Sample], normal: int, anomaly: int) -> None:
    anomalous = sum(sample.anomalous for sample in samples)
    for name, count, least in (("normal", len(samples) - anomalous, normal), ("anomaly", anomalous, anomaly)):
        if count < least:
            raise TrainingError(
                f"The {what} has {count} images labelled {name}; at least {least} are needed. "
                "Label or add more images, then train again."
            )


def _agree(sample: Sample, name: str, colour: str, colours: Mapping[str, str]) -> None:
    known = colours.get(name)
    if known is not None and known.lower() != colour.lower():
        raise TrainingError(
            f"The anomaly label '{name}' has the colour {colour} in the mask of {sample.reference}, but {known} in "
            "masks before it. Give a label the same colour in all masks."
        )
    for other, taken in colours.items():
        if other != name and taken.lower() == colour.lower():
            raise TrainingError(
                f"The colour {colour} stands for '{name}' in the mask of {sample.reference}, but for '{other}' in "
                "masks before it. Give each label a colour of its own."
            )
