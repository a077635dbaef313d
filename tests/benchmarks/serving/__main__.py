"""`make bench-serving`: the service under load, in parts that can be measured one by one. Writes docs/serving.md."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gpu.weights import find_weights
from tests.benchmarks.datasets import read_data_sets
from tests.benchmarks.finding import Findings
from tests.benchmarks.serving.page import write_page
from tests.benchmarks.serving.parts import PARTS, TITLES, Plan
from tests.benchmarks.serving.pictures import make_pictures
from tests.benchmarks.serving.processes import Company
from tests.benchmarks.serving.site import running_site

_CHANGE = "change"  # the part that needs a second version

app = typer.Typer(add_completion=False)


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="A data set in MVTec's layout, or a folder of them: the first is taken.")],
    report: Annotated[Path, typer.Option(help="Page whose measured part is rewritten; a .json beside it.")],
    weights: Annotated[Path | None, typer.Option(help="Folder with the backbone's weights.")] = None,
    anomalib: Annotated[Path | None, typer.Option(help="Python of the environment that has anomalib.")] = None,
    only: Annotated[list[str] | None, typer.Option(help=f"Parts: {', '.join(PARTS)}; default: all.")] = None,
    backbone: str = "resnet18",
    size: Annotated[int, typer.Option(help="Shorter side of the network's input.")] = 256,
    ratio: Annotated[float, typer.Option(help="Share of the patches that are remembered.")] = 0.01,
    normal: Annotated[int, typer.Option(help="Good photographs to learn from, at most.")] = 60,
    images: Annotated[int, typer.Option(help="Different images that are sent.")] = 24,
    clients: Annotated[list[int] | None, typer.Option(help="Default: 1, 4 and 16.")] = None,
    rounds: Annotated[int, typer.Option(help="Runs of a load, of which the median counts.")] = 3,
    seconds: Annotated[float, typer.Option(help="Length of a load, where it has none of its own.")] = 20,
    overload_seconds: float = 60,
    soak_minutes: float = 20,
    damage_minutes: float = 10,
    seed: int = 0,
) -> None:
    """Measure the parts and rewrite the report."""
    if unknown := set(only or ()) - PARTS.keys():
        raise typer.BadParameter(f"{unknown.pop()} is no part; there are {', '.join(PARTS)}", param_hint="only")
    file = find_weights(backbone, weights)
    if file is None or (anomalib is not None and backbone != "resnet18"):
        raise typer.BadParameter(
            f"{weights} has no weights of {backbone}; anomalib needs resnet18's", param_hint="weights"
        )
    plan = Plan(
        size,
        ratio,
        tuple(clients or (1, 4, 16)),
        rounds,
        seconds,
        overload_seconds,
        60 * soak_minutes,
        60 * damage_minutes,
        seed,
        weights,
        file,
        anomalib.absolute() if anomalib else None,
    )
    findings = Findings(report.with_suffix(".json"))
    with tempfile.TemporaryDirectory(prefix="vigil-serving-") as name:
        folder = Path(name)
        pictures = make_pictures(read_data_sets(data)[0], folder / "pictures", normal, 10, images)
        with running_site(folder / "service", pictures, weights) as site:
            for _ in range(2 if _CHANGE in (only or PARTS) else 1):  # versions
                site.train(size, ratio, backbone)
            for part in only or PARTS:
                company = Company()
                finding = PARTS[part](site, plan)
                others = f"{finding.measured}; other programs took {100 * company.share():.0f} % of its CPU time"
                finding = replace(finding, measured=others)
                findings.keep(part, finding)
                write_page(report, TITLES, findings.parts)
                for row in ((finding.measured,), *finding.rows, *finding.requirements):
                    print(part, row, flush=True)  # noqa: T201 - a command's output


if __name__ == "__main__":
    app()
