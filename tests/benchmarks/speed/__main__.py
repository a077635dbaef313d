"""The command of `make bench-speed`. What is measured in one run replaces its part of the report; the others stay."""

import os
import tempfile
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gpu.weights import find_weights
from tests.benchmarks.datasets import read_data_set, read_data_sets
from tests.benchmarks.machine import describe_machine
from tests.benchmarks.speed import neighbours, scoring, selection, training, volume
from tests.benchmarks.speed.context import Context, Scale
from tests.benchmarks.speed.report import keep, write_report

PARTS = {
    "coreset": selection.measure,
    "training": training.measure,
    "scoring": scoring.measure,
    "memory": volume.measure_memory,
    "growth": volume.measure_growth,
    "neighbours": neighbours.measure,
}
_LAYOUT = "magnetic_tile"  # of a folder of data sets, the one whose photographs are taken where it is there

app = typer.Typer(add_completion=False)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="A data set in MVTec's layout, or a folder of them.")],
    weights: Annotated[Path, typer.Option(help="Folder with ResNet-18's weights.")],
    report: Annotated[Path, typer.Option(help="Page whose measured part is rewritten; a .json beside it.")],
    anomalib: Annotated[Path | None, typer.Option(help="Python of the environment that has anomalib.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help=f"Parts, with commas: {', '.join(PARTS)}; default: all.")
    ] = None,
    size: Annotated[int, typer.Option(help="Side of the network's input.")] = 256,
    scale: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER: another size of a part, for a try.")] = None,
) -> None:
    """Measure the parts and rewrite the report."""
    chosen = [name.strip() for entry in only or PARTS for name in entry.split(",") if name.strip()]
    if unknown := set(chosen) - set(PARTS):
        raise typer.BadParameter(f"there are {', '.join(PARTS)}; not {', '.join(sorted(unknown))}", param_hint="only")
    file = find_weights("resnet18", weights)
    if file is None:
        raise typer.BadParameter(f"{weights} has no weights of ResNet-18", param_hint="weights")
    found = data / _LAYOUT
    photographs = read_data_set(found) if found.is_dir() else read_data_sets(data)[0]
    sizes = _scale(scale or [])
    with tempfile.TemporaryDirectory(prefix="bench-speed-") as name:
        python = None if anomalib is None else anomalib.absolute()
        context = Context(photographs, weights, file, python, Path(name), sizes, size)
        for part in chosen:
            measured = PARTS[part](context)
            about = {
                "machine": describe_machine(),
                "ended": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
                "load": os.getloadavg()[2],
                "data": photographs.name,
                "scale": {field.name: getattr(sizes, field.name) for field in fields(Scale)},
            }
            keep(report, part, about | {"figures": measured})
            write_report(report)
            print(f"{part} is measured.", flush=True)  # noqa: T201 - a command's output


def _scale(entries: list[str]) -> Scale:
    """The sizes with those of the command line, checked. Raises BadParameter."""
    known, given = {field.name for field in fields(Scale)}, {}
    for entry in entries:
        name, _, value = entry.partition("=")
        try:
            numbers = tuple(int(number) for number in value.split(","))
        except ValueError:
            numbers = ()
        if name not in known or not numbers:
            raise typer.BadParameter(f"{entry}: NAME=NUMBER with one of {', '.join(sorted(known))}", param_hint="scale")
        given[name] = numbers if name == "growth_images" else numbers[0]
    return Scale(**given)


if __name__ == "__main__":
    app()
