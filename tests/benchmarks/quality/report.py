"""The measured part of docs/quality.md, and the same figures as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.finding import Finding, restored, section, summary
from tests.benchmarks.page import rewrite
from tests.benchmarks.verdicts import NAMES, Figures

MARK = "<!-- measured: everything below is written by make bench-quality -->"
_GAINS = ("auroc", "f1", "pixel_auroc")  # by labelled anomalies


@dataclass(frozen=True)
class Run:
    """One detector on one arrangement. `chosen` and `input_size` (H, W) are what the training settled on."""

    data_set: str
    detector: str
    backbone: str
    labelled: int
    seed: int
    input_size: tuple[int, int]
    chosen: str
    figures: Figures


@dataclass(frozen=True)
class DataSetPart:
    """What a data set gave to a run."""

    name: str
    train: int
    good: int
    bad: int


class Report:
    """A page and the JSON file beside it, which keeps the newest of each part; parts are measured one by one."""

    def __init__(self, page: Path) -> None:
        self._page, self._file = page, page.with_suffix(".json")
        self._content: dict[str, Any] = json.loads(self._file.read_text()) if self._file.exists() else {}

    def keep_runs(self, about: dict[str, Any], parts: Sequence[DataSetPart], runs: Sequence[Run]) -> None:
        """Put them in the place of older ones."""
        self._content["detectors"] = about | {
            "data_sets": [asdict(part) for part in parts],
            "runs": [asdict(run) for run in runs],
        }
        self._write()

    def keep_study(self, name: str, findings: Sequence[tuple[str, Finding]]) -> None:
        """Put the findings (title, finding) of a study in the place of older ones."""
        self._content[name] = [(title, asdict(finding)) for title, finding in findings]
        self._write()

    def _write(self) -> None:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.write_text(json.dumps(self._content, indent=1, ensure_ascii=False) + "\n")
        content = dict(self._content)
        lines = _of_detectors(content.pop("detectors")) if "detectors" in content else []
        there = [(title, restored(finding)) for study in content.values() for title, finding in study]
        if there:
            lines += [section(title, finding) for title, finding in there] + [summary(there)]
        rewrite(self._page, MARK, "# Detection quality", lines)


def _of_detectors(about: dict[str, Any]) -> list[str]:
    parts = [DataSetPart(**part) for part in about["data_sets"]]
    runs = [Run(**{**run, "figures": Figures(**run["figures"])}) for run in about["runs"]]
    said = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    lines = [f"Measured on {about['machine']}; {said}. {_options(about)}"]
    for part in parts:
        own = [run for run in runs if run.data_set == part.name]
        lines.append(
            f"### {part.name}\n\n{part.train} good images to learn from; {part.good} good and {part.bad} bad ones to "
            f"judge.\n\n{_table(own)}"
        )
        if len({run.labelled for run in own}) > 1:
            lines.append(f"Gain by labelled anomalies over none, on the same test images:\n\n{_gains(own)}")
    return lines


def _options(about: dict[str, Any]) -> str:
    seeds, limit, ratio = about["seeds"], about["limit"], about["coreset_ratio"]
    said = ["One seed." if seeds == 1 else f"Mean ± standard deviation of {seeds} seeds."]
    if limit is not None:
        said.append(f"At most {limit} images of each kind.")
    if ratio is not None:
        said.append(f"anomalib's PatchCore keeps {ratio:g} of the patches, not 0.1 as by itself.")
    return " ".join(said)


def _table(runs: Sequence[Run]) -> str:
    rows = [
        f"| detector | backbone | labelled | input | {' | '.join(NAMES.values())} |",
        f"|---|---|---|---|{'---|' * len(NAMES)}",
    ]
    for detector, backbone, labelled in dict.fromkeys((run.detector, run.backbone, run.labelled) for run in runs):
        same = [run for run in runs if (run.detector, run.backbone, run.labelled) == (detector, backbone, labelled)]
        sizes = ", ".join(dict.fromkeys(f"{width} × {height}" for height, width in (run.input_size for run in same)))
        chosen = ", ".join(dict.fromkeys(run.chosen for run in same if run.chosen not in ("", detector.split()[-1])))
        name = f"{detector} ({chosen})" if chosen else detector
        cells = " | ".join(_spread([getattr(run.figures, figure) for run in same], figure) for figure in NAMES)
        rows.append(f"| {name} | {backbone} | {labelled} | {sizes} | {cells} |")
    return "\n".join(rows)


def _gains(runs: Sequence[Run]) -> str:
    rows = [
        f"| detector | backbone | labelled | {' | '.join(NAMES[figure] for figure in _GAINS)} |",
        f"|---|---|---|{'---|' * len(_GAINS)}",
    ]
    none = {(run.detector, run.backbone, run.seed): run.figures for run in runs if not run.labelled}
    for detector, backbone, labelled in dict.fromkeys(
        (run.detector, run.backbone, run.labelled) for run in runs if run.labelled
    ):
        same = [run for run in runs if (run.detector, run.backbone, run.labelled) == (detector, backbone, labelled)]
        cells = []
        for figure in _GAINS:
            pairs = [
                (getattr(run.figures, figure), getattr(none[detector, backbone, run.seed], figure))
                for run in same
                if (detector, backbone, run.seed) in none
            ]
            gains = [after - before for after, before in pairs if after is not None and before is not None]
            cells.append(f"{np.mean(gains):+.3f} ± {np.std(gains):.3f}" if gains else "–")
        rows.append(f"| {detector} | {backbone} | {labelled} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _spread(values: Sequence[float | None], figure: str) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{np.mean(known):.0f}" if figure == "train_seconds" else f"{np.mean(known):.3f} ± {np.std(known):.3f}"
