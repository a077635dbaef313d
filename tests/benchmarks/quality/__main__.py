"""`make bench-quality`: how good decisions are, Vigil's and anomalib's, on the same images. Writes docs/quality.md.

A data set's good training photographs are learned from, its test photographs are judged. Labelled anomalies are drawn
from the bad ones, and then judged by nobody.
"""

from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from gpu.weights import find_weights
from storage.options import AUTO, TrainingOptions
from tests.benchmarks.arrangement import Arrangement, arrange, counts_for, shared_size, truth_masks
from tests.benchmarks.baseline import MODELS, Baseline
from tests.benchmarks.datasets import DataSet, read_data_sets
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.own import run_own
from tests.benchmarks.quality.mistakes import write_mistakes
from tests.benchmarks.quality.report import DataSetPart, Report, Run
from tests.benchmarks.quality.studies import STUDIES
from tests.benchmarks.verdicts import Verdicts, judge

DETECTORS = "detectors"
_BASELINE_BACKBONE = "resnet18"  # the one that both have


class Quality:
    """All runs so far; each is told when it is done, and the report is written after each data set."""

    def __init__(self, report: Report, pictures: Path, about: dict[str, Any], baseline: Baseline | None) -> None:
        self._report, self._pictures, self._about, self._baseline = report, pictures, about, baseline
        self._parts: list[DataSetPart] = []
        self._runs: list[Run] = []

    def measure(self, data: DataSet, options: list[TrainingOptions], counts: list[int], weights: Path | None) -> None:
        """Every detector on one data set, seed by seed."""
        counts = counts_for(data, counts)
        for seed in range(self._about["seeds"]):
            arrangement = arrange(data, seed, max(counts), self._about["limit"])
            size = shared_size(arrangement, self._about["size"])
            masks = truth_masks(arrangement.test, size)
            for (name, backbone, labelled), found in self._verdicts(arrangement, options, counts, weights, size, seed):
                figures = judge(found, arrangement.truth, masks)
                run = Run(data.name, name, backbone, labelled, seed, found.input_size, found.chosen, figures)
                self._runs.append(run)
                print(run, flush=True)  # noqa: T201 - a command's output
                if not seed:
                    folder = self._pictures / data.name / f"{name} {backbone} {labelled}".replace(" ", "-")
                    write_mistakes(folder, found, arrangement.test)
        bad = sum(arrangement.truth)
        self._parts.append(DataSetPart(data.name, len(arrangement.train), len(arrangement.truth) - bad, bad))
        versions = {"Vigil": version("vigil")} | (self._baseline.versions if self._baseline else {})
        about = {"machine": describe_machine(), "versions": versions} | self._about
        self._report.keep_runs(about, self._parts, self._runs)

    def _verdicts(
        self,
        arrangement: Arrangement,
        options: list[TrainingOptions],
        counts: list[int],
        weights: Path | None,
        size: tuple[int, int],
        seed: int,
    ) -> Iterator[tuple[tuple[str, str, int], Verdicts]]:
        """((detector, backbone, labelled anomalies), what it says) of each, one after another."""
        for option in options:
            for count in counts:
                found = run_own(arrangement, count, replace(option, seed=seed), weights)
                yield (f"Vigil {option.detector}", option.backbone, count), found
        for model in MODELS if self._baseline else ():
            for count, found in self._baseline.run(model, arrangement, counts, size, seed).items():
                yield (f"anomalib {model}", _BASELINE_BACKBONE, count), found


def main(
    data: Annotated[Path, typer.Option(help="A data set in MVTec's layout, or a folder of them.")],
    report: Annotated[Path, typer.Option(help="Page whose measured part is rewritten; a .json beside it.")],
    pictures: Annotated[Path, typer.Option(help="Folder for pictures of the worst mistakes.")],
    weights: Annotated[Path | None, typer.Option(help="Folder with ResNet-18's weights; without it only ours.")] = None,
    anomalib: Annotated[Path | None, typer.Option(help="Python of the environment that has anomalib.")] = None,
    anomalies: Annotated[list[int] | None, typer.Option(help="Labelled anomalies shown to the training.")] = None,
    backbone: Annotated[
        list[str] | None, typer.Option(help="Default: resnet18 where it is there, and vigil-s.")
    ] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Default: what a training does by itself.")] = None,
    size: Annotated[int, typer.Option(help="Shorter side of the input, but of that which auto chooses.")] = 256,
    seeds: Annotated[int, typer.Option(help="The study of false alarms takes at least ten.")] = 3,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Parts: {DETECTORS}, {', '.join(STUDIES)}; default: the first.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many images of each kind: for a quick try.")] = None,
    coreset_ratio: Annotated[float | None, typer.Option(help="anomalib's PatchCore; default: its own, 0.1.")] = None,
) -> None:
    """Measure every detector on every data set and rewrite the report."""
    file = find_weights(_BASELINE_BACKBONE, weights)
    if anomalib is not None and file is None:
        raise typer.BadParameter(
            f"the baseline needs ResNet-18's weights, and {weights} has none", param_hint="weights"
        )
    baseline = Baseline(anomalib.absolute(), file, coreset_ratio) if anomalib is not None and file is not None else None
    backbones = backbone or ([_BASELINE_BACKBONE] if file else []) + ["vigil-s"]
    options = [
        TrainingOptions(detector=name, backbone=network, image_size=None if name == AUTO else size)
        for network in backbones
        for name in detector or [TrainingOptions().detector]
    ]
    about = {"seeds": seeds, "limit": limit, "size": size, "coreset_ratio": coreset_ratio}
    try:
        sets = read_data_sets(data)
    except FileNotFoundError as error:
        raise typer.BadParameter(str(error), param_hint="data") from None
    if unknown := set(only or ()) - {DETECTORS, *STUDIES}:
        raise typer.BadParameter(f"{unknown.pop()} is no part", param_hint="only")
    kept = Report(report)
    for part in only or [DETECTORS]:
        if part == DETECTORS:
            quality = Quality(kept, pictures, about, baseline)
            for found in sets:
                quality.measure(found, options, anomalies or [0], weights)
        else:
            title, study = STUDIES[part]
            findings = [
                (f"{title}: {found.name}, {option.backbone}", finding)
                for found in sets
                for option in options
                if (finding := study(found, option, weights, seeds)) is not None
            ]
            kept.keep_study(part, findings)


if __name__ == "__main__":
    typer.run(main)
