"""What the demonstration tells at its end: decisions, figures, times, and where the heat maps are."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from api.cli.client import ModelState
from api.cli.demo_images import Plan
from api.cli.models import figures
from api.cli.outcomes import Outcome
from api.cli.terminal import out


@dataclass
class Times:
    """How long each step took, in seconds."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Measure one step."""
        start = time.monotonic()
        yield
        self.seconds[name] = time.monotonic() - start


def report(plan: Plan, trained: ModelState, outcomes: Sequence[Outcome], times: Times, output: Path) -> None:
    """Print all of it on stdout."""
    table = Table("Image", "Truth", "IsAnomalous", "Confidence", "Found", title="Unseen images", box=SIMPLE_HEAD)
    table.columns[0].overflow = "fold"
    hits = {(truth, said): 0 for truth in (True, False) for said in (True, False)}
    for sample, outcome in zip(plan.unseen, outcomes, strict=True):
        if outcome.detection is None:
            table.add_row(outcome.picture.name, sample.label, "not judged", "", outcome.problem)
            continue
        said, confidence = outcome.detection.is_anomalous, f"{outcome.detection.confidence:.3f}"
        hits[sample.label == "anomaly", said] += 1
        word = Text(str(said).lower(), "bold red" if said else "green")
        table.add_row(outcome.picture.name, sample.label, word, confidence, outcome.detection.found)
    out.print(table)
    out.print(f"Model, on the part of its images that was kept for the test: {figures(trained)}", soft_wrap=True)
    out.print(f"Unseen images: {_scores(hits)}", soft_wrap=True)
    if plan.test:
        out.print(
            "The training had normal images only, as the folder's layout says; with examples of defects among the "
            "training images the model decides better.",
            soft_wrap=True,
        )
    steps = Table("Step", "Seconds", title="Times", box=SIMPLE_HEAD)
    for name, seconds in times.seconds.items():
        steps.add_row(name, f"{seconds:.1f}")
    steps.add_row("together", f"{sum(times.seconds.values()):.1f}")
    out.print(steps)
    written = sum(outcome.overlay is not None for outcome in outcomes)
    out.print(f"Heat maps: {written} PNG files in {output.absolute()}", soft_wrap=True)


def _scores(hits: Mapping[tuple[bool, bool], int]) -> str:
    right, missed, false_alarms = hits[True, True], hits[True, False], hits[False, True]
    precision, recall = _ratio(right, right + false_alarms), _ratio(right, right + missed)
    f1 = _ratio(2 * right, 2 * right + missed + false_alarms)
    told = f"{right} of {right + missed} defects found, {false_alarms} false alarms in {sum(hits.values())} images"
    return f"F1 {f1:.3f}, precision {precision:.3f}, recall {recall:.3f} ({told})"


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
