"""The measured part of docs/speed.md, written from the figures in the JSON file beside it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from tests.benchmarks.page import rewrite, table

MARK = "<!-- measured: everything below is written by make bench-speed -->"
_GIB, _MIB = 2**30, 2**20
_CORESET = ("coreset", "calibration, coreset")
Figures = dict[str, Any]


def keep(report: Path, part: str, measured: Figures) -> None:
    """Put a part's figures into the JSON file beside the page; those of other parts stay as they are."""
    file = report.with_suffix(".json")
    stored = json.loads(file.read_text()) if file.exists() else {}
    stored[part] = measured
    report.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")


def write_report(report: Path) -> None:
    """Rewrite the page below the mark from all that is in the JSON file."""
    stored = json.loads(report.with_suffix(".json").read_text())
    lines = [
        f"{_titled(part)}\n\n{_said(part, stored[part])}\n\n{_WRITERS[part](stored[part]['figures'])}"
        for part in _order(stored)
    ]
    rewrite(report, MARK, "# Speed and memory", lines)


def _order(stored: Figures) -> list[str]:
    return [part for part in _WRITERS if part in stored]


def _titled(part: str) -> str:
    return f"### {_TITLES[part]}"


def _said(part: str, measured: Figures) -> str:
    versions = _versions(measured["figures"])
    beside = f"; anomalib {versions['anomalib']} on torch {versions['torch']}" if versions else ""
    rounds = 1 if part in _ONCE else measured["scale"]["rounds"]
    turns = "One round" if rounds == 1 else f"Median of {rounds} rounds, least and most in brackets"
    return (
        f"Measured on {measured['machine']}{beside}; ended {measured['ended']}, 15-minute load {measured['load']:.1f}. "
        f"{turns}."
    )


def _versions(figures: Any) -> dict[str, str]:
    """Those that the baseline has told of itself, wherever in the figures."""
    if isinstance(figures, dict):
        if figures.get("versions"):
            return dict(figures["versions"])
        figures = list(figures.values())
    if isinstance(figures, list):
        return next((found for found in map(_versions, figures) if found), {})
    return {}


def _coreset(figures: Figures) -> str:
    rows = []
    for bank in figures["banks"]:
        ours, theirs = bank["ours_ms"], bank["baseline_ms"]
        same = "yes" if bank["agreed"] == bank["compared"] else f"no: pick {bank['agreed'] + 1:,} differs"
        rows.append(
            [
                f"{100 * bank['ratio']:g} %, {bank['picks']:,} picks",
                _spread(ours, ".3f"),
                f"{bank['plain_ms']:.1f}",
                _spread(theirs, ".1f"),
                "100 ×",
                _ratio(theirs, ours),
                f"{same} ({bank['compared']:,} compared)",
            ]
        )
    bank = figures["banks"][0]
    theirs = (
        f" anomalib selects in {bank['baseline_dimensions']} projected dimensions; {bank['baseline_picks']} of its "
        "picks were timed."
        if bank["baseline_ms"]
        else ""
    )
    projection = ", ".join(f"{bank['ours_projection_s']:.2f} s" for bank in figures["banks"])
    return (
        f"{figures['points']:,} patches of {figures['images']} photographs, {figures['dimensions']} numbers "
        f"each.{theirs} Not in the figures per pick: the projection before it, {projection} of ours.\n\n"
        + table(
            [
                "bank",
                "Vigil, ms a pick",
                "plain loop, ms a pick",
                "anomalib, ms a pick",
                "less time than anomalib: required",
                "measured",
                "same picks as the plain loop",
            ],
            rows,
        )
    )


def _training(figures: Figures) -> str:
    ours, theirs = figures["ours"], figures["baseline"]
    rows = [
        [
            name,
            _spread([run["wall"] for run in runs], ".1f"),
            _spread([run["cpu"] for run in runs], ".1f"),
            _spread([run["peak"] / _MIB for run in runs], ",.0f"),
            " ".join(f"{run['auroc']:.4f}" for run in runs),
            f"{mean(run['auroc'] for run in runs):.4f}",
        ]
        for name, runs in (("Vigil, CreateModel to TRAINED", ours), ("anomalib, Engine.fit", theirs))
        if runs
    ]
    parts = [
        f"{figures['images']} photographs of {figures['side']} × {figures['side']} pixels, input {figures['size']} × "
        f"{figures['size']}, {100 * figures['ratio']:g} % of the patches kept. Vigil's time contains its calibration "
        f"and the evaluation with {figures['evaluated']} images. AUROC of the models on {figures['good']} good "
        f"and {figures['bad']} bad images.",
        table(["", "wall s", "CPU s", "peak RSS, MiB", "AUROC of each seed", "mean"], rows),
    ]
    if theirs:
        difference = mean(run["auroc"] for run in ours) - mean(run["auroc"] for run in theirs)
        share = median(run["peak"] for run in ours) / median(run["peak"] for run in theirs)
        parts.append(
            table(
                ["Vigil beside anomalib", "required", "measured"],
                [
                    ["less CPU time", "5 ×", _ratio(*([run["cpu"] for run in runs] for runs in (theirs, ours)))],
                    ["less wall time", "–", _ratio(*([run["wall"] for run in runs] for runs in (theirs, ours)))],
                    ["AUROC", "± 0.002", f"{difference:+.4f}"],
                    ["peak RSS", "under 60 %", f"{100 * share:.0f} %"],
                ],
            )
        )
    phases, total = figures["phases"]["phases"], figures["phases"]["wall"]
    known = sum(seconds for name, seconds in phases.items() if name != "decode")
    named = [
        ("reading the headers", phases.get("headers", 0)),
        ("waiting for decoded images", phases.get("waiting for images", 0)),
        ("backbone", phases.get("backbone", 0)),
        ("calibration: five selections", phases.get("calibration, coreset", 0)),
        (
            "search in the banks, of the calibration and of the model's own neighbours",
            phases.get("calibration, search", 0),
        ),
        ("coreset of the model", phases.get("coreset", 0)),
        ("evaluation", phases.get("evaluation", 0)),
        ("store: making and writing the artefact", phases.get("store", 0)),
        ("all else", total - known),
        ("**together**", total),
    ]
    decoding = phases.get("decode", 0)
    parts.append(
        f"One training of these without a service around it, by phase. The threads that decode and resize ahead of the "
        f"backbone took {decoding:.1f} s of CPU time beside it; the whole process {figures['phases']['cpu']:.1f} s.\n\n"
        + table(["phase", "wall s"], [[name, f"{seconds:.2f}"] for name, seconds in named])
    )
    return "\n\n".join(parts)


def _scoring(figures: Figures) -> str:
    rows = []
    for row in figures["batches"]:
        rates = [[run["images"] / run["wall"] for run in row[who]] for who in ("ours", "baseline")]
        cpu = [[1000 * run["cpu"] / run["images"] for run in row[who]] for who in ("ours", "baseline")]
        rows.append(
            [
                f"{row['batch']}",
                *(_spread(values, ".1f") for values in rates),
                "6 ×",
                _ratio(*rates),
                *(_spread(values, ".0f") for values in cpu),
            ]
        )
    return (
        f"{figures['images']} JPEG files of {figures['side']} × {figures['side']} pixels a round, input "
        f"{figures['size']} × {figures['size']}, a bank of {100 * figures['ratio']:g} %.\n\n"
        + table(
            [
                "batch",
                "Vigil, images/s",
                "anomalib, images/s",
                "faster: required",
                "measured",
                "Vigil, CPU ms an image",
                "anomalib, CPU ms an image",
            ],
            rows,
        )
    )


def _memory(figures: Figures) -> str:
    rows = []
    for run in figures["runs"]:
        budget = f"{run['budget']:.1f} GiB" if run["bounded"] else f"none ({run['budget']:.1f} GiB are free)"
        if "refused" in run:
            rows.append([f"{run['images']:,}", budget, *"–––––", f"refused: {run['refused']}"])
            continue
        over = (run["peak"] - run["empty"]) / _GIB
        rows.append(
            [
                f"{run['images']:,}",
                budget,
                f"{over:.2f}",
                ("yes" if over <= run["budget"] else "no") if run["bounded"] else "–",
                f"{run['wall']:,.0f}",
                f"{run['cpu'] - run['making']:,.0f}",
                f"{run['auroc']:.4f}",
                run["plan"],
            ]
        )
    return (
        f"Images of {figures['side']} × {figures['side']} pixels made from their number, input {figures['size']} × "
        f"{figures['size']}, {100 * figures['ratio']:g} % of the patches kept, {figures['tests']} images judged. The "
        "CPU time is without that of making the images, the wall time with it.\n\n"
        + table(
            ["images", "budget", "peak RSS over the empty worker, GiB", "within", "wall s", "CPU s", "AUROC", "plan"],
            rows,
        )
    )


def _growth(figures: Figures) -> str:
    counts = sorted({run["images"] for run in figures["runs"]})
    groups = [[run for run in figures["runs"] if run["images"] == count] for count in counts]
    columns: dict[str, Callable[[Figures], float]] = {
        "headers": lambda run: run["phases"].get("headers", 0),
        "waiting for images": lambda run: run["phases"].get("waiting for images", 0),
        "backbone": lambda run: run["phases"].get("backbone", 0),
        "search in banks": lambda run: run["phases"].get("calibration, search", 0),
        "all else": _rest,
        "together outside the coreset": _outside,
        "coreset": lambda run: sum(run["phases"].get(name, 0) for name in _CORESET),
    }
    found = {
        name: [[1000 * of(run) / run["images"] for run in group] for group in groups] for name, of in columns.items()
    }
    found["evaluation, per judged image"] = [
        [1000 * run["phases"].get("evaluation", 0) / run["tests"] for run in group] for group in groups
    ]
    rows = [
        [f"{count:,}", *(_spread(values[number], ".2f") for values in found.values())]
        for number, count in enumerate(counts)
    ]
    each = {name: [median(values) for values in of] for name, of in found.items()}
    rows.append(["most over least", *(f"{max(v) / min(v):.2f}" if min(v) > 0 else "–" for v in each.values())])
    outside = each["together outside the coreset"]
    flat = max(outside) / min(outside) - 1
    return (
        f"Wall ms per image of {figures['side']} × {figures['side']} pixels, input {figures['size']} × "
        f"{figures['size']}, {100 * figures['ratio']:g} % of the patches kept; the images were made before. The "
        "coreset is that of the model and the five of the calibration.\n\n"
        + table(["images", *found], rows)
        + "\n\n"
        + table(
            ["outside the coreset, most over least", "required", "measured"],
            [["wall time per image", "within 20 %", f"{100 * flat:.0f} %"]],
        )
    )


def _outside(run: Figures) -> float:
    """Seconds of a training that are neither of a selection nor of the evaluation."""
    return run["wall"] - sum(run["phases"].get(name, 0) for name in (*_CORESET, "evaluation"))


def _rest(run: Figures) -> float:
    named = ("headers", "waiting for images", "backbone", "calibration, search")
    return _outside(run) - sum(run["phases"].get(name, 0) for name in named)


def _neighbours(figures: Figures) -> str:
    rows = [
        [
            f"{bank['rows']:,}",
            _spread(bank["ours"], ".1f"),
            _spread(bank["cdist"], ".1f"),
            _ratio(bank["cdist"], bank["ours"]),
            f"{bank['same']:,} of {bank['compared']:,}",
        ]
        for bank in figures["banks"]
    ]
    return (
        f"{figures['points']:,} random points of {figures['dimensions']} numbers; queries in batches of 1,024.\n\n"
        + table(
            ["rows of the bank", "Vigil, ms per 1,000", "cdist and min, ms per 1,000", "faster", "same row found"], rows
        )
    )


def _spread(values: Sequence[float], form: str) -> str:
    if not values:
        return "–"
    middle = format(median(values), form)
    return middle if len(values) == 1 else f"{middle} ({min(values):{form}}–{max(values):{form}})"


def _ratio(above: Sequence[float], below: Sequence[float]) -> str:
    return f"{median(above) / median(below):.1f} ×" if above and below else "–"


_ONCE = ("memory",)  # parts that are measured in one round whatever the scale

_TITLES = {
    "coreset": "Coreset",
    "training": "Training",
    "scoring": "Scoring",
    "memory": "Memory",
    "growth": "Growth",
    "neighbours": "Nearest neighbours",
}
_WRITERS: dict[str, Callable[[Figures], str]] = {
    "coreset": _coreset,
    "training": _training,
    "scoring": _scoring,
    "memory": _memory,
    "growth": _growth,
    "neighbours": _neighbours,
}
