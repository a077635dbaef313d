"""The `vigil:` tags of CreateModel: how a user chooses what a training does differently from the default."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

AUTO = "auto"
DETECTORS = (AUTO, "patchcore", "padim", "ensemble")
BACKBONES = ("auto", "vigil-s", "vigil-m", "resnet18", "resnet34", "resnet50", "wide_resnet50_2")
PREFIX = "vigil:"


@dataclass(frozen=True)
class TrainingOptions:
    """What a training may be told. `image_size` is the shorter side of the network's input, in pixels.

    The detector "auto" is the one, with its grid and whitening, that cross-validation finds best; so is the size where
    none is given.

    `max_false_alarms` is how many of 1,000 good parts may be reported; without it the labelled anomalies decide.
    """

    detector: str = AUTO
    backbone: str = "auto"
    image_size: int | None = None
    coreset_ratio: float = 0.02
    max_false_alarms: float | None = None
    seed: int = 0


TAGS = tuple(f"{PREFIX}{field.name.replace('_', '-')}" for field in fields(TrainingOptions))


def parse_options(tags: Mapping[str, str]) -> TrainingOptions:
    """Read the `vigil:` tags; others are the user's own. Raises ValueError that names the tag and what it allows."""
    chosen: dict[str, str | int | float] = {}
    for tag, value in tags.items():
        match tag:
            case "vigil:detector":
                chosen["detector"] = _one_of(tag, value, DETECTORS)
            case "vigil:backbone":
                chosen["backbone"] = _one_of(tag, value, BACKBONES)
            case "vigil:image-size":
                chosen["image_size"] = int(_number(tag, value, 64, 1024, whole=True))
            case "vigil:coreset-ratio":
                chosen["coreset_ratio"] = _number(tag, value, 0.0001, 1)
            case "vigil:max-false-alarms":
                chosen["max_false_alarms"] = _number(tag, value, 0.1, 500)
            case "vigil:seed":
                chosen["seed"] = int(_number(tag, value, 0, 2**31 - 1, whole=True))
            case _ if tag.startswith(PREFIX):
                raise ValueError(f"tag '{tag}' is not known; the '{PREFIX}' tags are {', '.join(TAGS)}")
    return TrainingOptions(**chosen)  # type: ignore[arg-type]


def _one_of(tag: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise ValueError(f"tag '{tag}' is '{value}'; allowed are {', '.join(allowed)}")
    return value


def _number(tag: str, value: str, low: float, high: float, *, whole: bool = False) -> float:
    try:
        number = float(int(value)) if whole else float(value)
    except (ValueError, OverflowError):
        number = float("nan")
    if not low <= number <= high:
        kind = "whole number" if whole else "number"
        raise ValueError(f"tag '{tag}' is '{value}'; allowed is a {kind} from {low} to {high}")
    return number
