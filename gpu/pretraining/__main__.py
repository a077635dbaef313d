"""`make backbone`: render images, let students learn, write their weights with where they come from."""

import csv
import json
import platform
import time
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from gpu.backbone import STAGES, Backbone, load_backbone
from gpu.device import select_device
from gpu.pretraining.crops import Crops, render_images
from gpu.pretraining.objectives import Agreement, Imitation, Objective
from gpu.pretraining.pretrainer import Moment, Plan, PlanMismatch, Pretrainer, code_version, kept_steps, save_weights
from gpu.weights import WeightsError

_IMAGES, _BATCH, _STEPS, _REFINING = 3000, 24, 8600, 1600  # of the weights that come with Vigil
_LICENCE = "BSD-3-Clause"  # of torchvision, whose weights the teachers are
_PACE_STEPS = 30  # timed to find how many steps fit into the minutes


app = typer.Typer(add_completion=False)


@app.command()
def main(
    folder: Annotated[Path, typer.Option(help="Working folder: rendered images, checkpoint, losses.")],
    weights: Annotated[Path | None, typer.Option(help="Folder with the teachers' weight files.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the weights go; default: the working folder.")] = None,
    student: Annotated[list[str] | None, typer.Option(help="Default: vigil-s and vigil-m.")] = None,
    teacher: Annotated[list[str] | None, typer.Option(help="A backbone to imitate; default: resnet18.")] = None,
    no_teacher: Annotated[bool, typer.Option("--no-teacher", help="Learn from agreement alone.")] = False,
    minutes: Annotated[
        float | None, typer.Option(help="Time to spend; default: the steps of the weights shipped.")
    ] = None,
    seed: int = 0,
    images: int = _IMAGES,
    batch: int = _BATCH,
) -> None:
    """Train the project's backbones. Called again with the same folder, it goes on where it was interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    device, code = select_device(), code_version()
    teachers = [] if no_teacher else _teachers(teacher or ["resnet18"], weights, device)
    rendered = render_images(images, seed, folder / f"images-{seed}-{images}.npy", _tell_rendering)
    crops = Crops(rendered, seed, batch, device)
    objective: Objective = Imitation(teachers, crops) if teachers else Agreement(crops)
    names = tuple(student or ["vigil-s", "vigil-m"])
    plan = Plan(names, tuple(t.name for t in teachers), seed, images, batch, _STEPS, _REFINING)
    try:
        steps = kept_steps(folder) or (_STEPS if minutes is None else _steps(plan, minutes, objective, folder, device))
        plan = replace(plan, steps=steps, refining=round(steps * _REFINING / _STEPS))
        pretrainer = Pretrainer(plan, objective, folder, device)
    except PlanMismatch as error:
        raise typer.BadParameter(str(error)) from error
    with (folder / "losses.csv").open("a", newline="", buffering=1) as file:
        pretrainer.run(lambda moment: _tell(moment, plan, csv.writer(file)))
    for name in plan.students:
        path = (out or folder) / f"{name}.safetensors"
        header = {"name": name, "code": code, "version": version("vigil"), "machine": _machine(device)}
        save_weights(path, pretrainer.weights(name), header | _origin(name, pretrainer, teachers))
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")  # noqa: T201 - a command's output


def _teachers(names: list[str], weights: Path | None, device: torch.device) -> list[Backbone]:
    try:
        return [load_backbone(name, weights, device=device, layers=STAGES) for name in names]
    except (WeightsError, ValueError) as error:
        raise typer.BadParameter(str(error)) from error


def _origin(name: str, pretrainer: Pretrainer, teachers: list[Backbone]) -> dict[str, str]:
    """What the student learned from, and how far it came."""
    end = pretrainer.moment
    return {
        "plan": json.dumps(asdict(pretrainer.plan)),
        "teachers": json.dumps([{"name": t.name, "sha256": t.digest, "licence": _LICENCE} for t in teachers]),
        "crops": str(end.crops),
        "minutes": f"{end.seconds / 60:.0f}",
        "losses": json.dumps([round(loss, 4) for loss in end.losses[name]]),
    }


def _steps(plan: Plan, minutes: float, objective: Objective, folder: Path, device: torch.device) -> int:
    """How many steps fit into the minutes at the pace of this machine."""
    trial = Pretrainer(plan, objective, folder, device)
    for _ in range(_PACE_STEPS // 3):
        trial.advance()
    started = time.monotonic()
    for _ in range(_PACE_STEPS):
        trial.advance()
    trial.moment.losses  # noqa: B018 - waits for the device
    return max(1, round(minutes * 60 / ((time.monotonic() - started) / _PACE_STEPS)))


def _tell_rendering(done: int, count: int) -> None:
    if done % 100 == 0 or done == count:
        print(f"{done:,} of {count:,} images rendered", flush=True)  # noqa: T201


def _tell(moment: Moment, plan: Plan, log: Any) -> None:
    log.writerow([moment.step, moment.crops, round(moment.seconds), *chain(*moment.losses.values())])
    losses = ", ".join(f"{name} {' '.join(f'{loss:.3f}' for loss in found)}" for name, found in moment.losses.items())
    print(f"{moment.step:,} of {plan.steps:,} steps, {moment.seconds / 60:.1f} min: {losses}", flush=True)  # noqa: T201


def _machine(device: torch.device) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} CPU cores"
    return f"{name}, torch {torch.__version__}, Python {platform.python_version()}"


if __name__ == "__main__":
    torch.set_flush_denormal(True)  # gradients that underflow would cost a CPU several times the time of a step
    app()
