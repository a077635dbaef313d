"""`make bench-quality`: how good decisions are, Vigil's and anomalib's, on the same images. Writes docs/quality.md.

A data set's good training photographs are learned from, its test photographs are judged. Labelled anomalies are drawn
from the bad ones, and then judged by nobody.
"""

from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from gpu.weights import find_weights
from storage.options import TrainingOptions
from tests.benchmarks.arrangement import arrange, counts_for, shared_size, truth_masks
from tests.benchmarks.baseline import MODELS, Baseline
from tests.benchmarks.datasets import DataSet, read_data_sets
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.mistakes import write_mistakes
from tests.benchmarks.own import run_own
from tests.benchmarks.quality_report import DataSetPart, Run, write_report
from tests.benchmarks.verdicts import Verdicts, judge

_BASELINE_BACKBONE = "resnet18"  # the one that both have


class Quality:
    """All runs so far; each is told when it is done, and the report is written after each data set."""

    def __init__(self, report: Path, pictures: Path, seeds: int, limit: int | None, baseline: Baseline | None) -> None:
        self._report, self._pictures, self._seeds, self._limit = report, pictures, seeds, limit
        self._baseline = baseline
        self._parts: list[DataSetPart] = []
        self._runs: list[Run] = []

    def measure(self, data: DataSet, options: list[TrainingOptions], counts: list[int], weights: Path | None) -> None:
        """Every detector on one data set, seed by seed."""
        counts = counts_for(data, counts)
        for seed in range(self._seeds):
            arrangement = arrange(data, seed, max(counts), self._limit)
            size = shared_size(arrangement, options[0].image_size)
            truth, masks = arrangement.truth, truth_masks(arrangement.test, size)

            def told(name: str, backbone: str, labelled: int, found: Verdicts) -> None:
                figures = judge(found, truth, masks)  # noqa: B023 - called in this turn of the loop only
                run = Run(data.name, name, backbone, labelled, seed, found.input_size, found.chosen, figures)  # noqa: B023
                self._runs.append(run)
                print(run, flush=True)  # noqa: T201 - a command's output
                if not seed:  # noqa: B023
                    folder = self._pictures / data.name / f"{name} {backbone} {labelled}".replace(" ", "-")
                    write_mistakes(folder, found, arrangement.test)  # noqa: B023

            for option in options:
                for count in counts:
                    found = run_own(arrangement, count, replace(option, seed=seed), weights)
                    told(f"Vigil {option.detector}", option.backbone, count, found)
            for model in MODELS if self._baseline else ():
                for count, found in self._baseline.run(model, arrangement, counts, size, seed).items():
                    told(f"anomalib {model}", _BASELINE_BACKBONE, count, found)
        bad = sum(truth)
        self._parts.append(DataSetPart(data.name, len(arrangement.train), len(truth) - bad, bad))
        self._write()

    def _write(self) -> None:
        versions = {"Vigil": version("vigil")} | (self._baseline.versions if self._baseline else {})
        about = {
            "machine": describe_machine(),
            "versions": versions,
            "seeds": self._seeds,
            "limit": self._limit,
        }
        write_report(self._report, about, self._parts, self._runs)


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
    size: Annotated[int, typer.Option(help="Shorter side of the network's input.")] = TrainingOptions().image_size,
    seeds: int = 3,
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
        TrainingOptions(detector=name, backbone=network, image_size=size)
        for network in backbones
        for name in detector or [TrainingOptions().detector]
    ]
    quality = Quality(report, pictures, seeds, limit, baseline)
    for found in read_data_sets(data):
        quality.measure(found, options, anomalies or [0], weights)


if __name__ == "__main__":
    typer.run(main)
