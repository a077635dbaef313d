"""`vigil train`, `vigil start` and `vigil stop`: the life of a model."""

from typing import Annotated

import typer
from rich.progress import Progress

from api.cli.client import Client, ModelState
from api.cli.options import DataDir, Port, Project, connect
from api.cli.terminal import CommandError, out, progress, say
from api.cli.waiting import await_model
from storage.objects import OWN_BUCKET
from storage.options import PREFIX, TAGS

EVALUATIONS = "evaluations/"
_OPTIONS = ", ".join(tag.removeprefix(PREFIX) for tag in TAGS)

Version = Annotated[
    str | None,
    typer.Argument(help="A version number, or latest. Default: the newest one that can be used.", show_default=False),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="NAME=VALUE", help=f"What to train differently; names: {_OPTIONS}. May repeat."),
]
Description = Annotated[str | None, typer.Option("--description", help="Letters, digits, '.', '-' and '_'.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end of the training, or return at once.")]
Units = Annotated[int, typer.Option("--units", min=1, help="Inference units: replicas that answer in parallel.")]

MaxUnits = Annotated[
    int | None,
    typer.Option("--max-units", min=1, help="Largest number of units under load. Default: as many as --units."),
]


def train(
    project: Project,
    description: Description = None,
    option: Options = None,
    *,
    wait: Wait = True,
    data_dir: DataDir = None,
    port: Port = None,
) -> None:
    """Train the next version of a project's model on its data sets."""
    tags = read_options(option or [])
    with connect(data_dir, port) as client:
        version = client.create_model(project, OWN_BUCKET, EVALUATIONS, tags, description)
        if not wait:
            say(f"Version {version} of project '{project}' is being trained; `vigil status {project}` shows how far.")
            return
        with progress() as bar:
            state = await_trained(client, project, version, bar)
    out.print(f"Version {version} of project '{project}' is trained: {figures(state)}", soft_wrap=True)


def start(
    project: Project,
    version: Version = None,
    units: Units = 1,
    max_units: MaxUnits = None,
    data_dir: DataDir = None,
    port: Port = None,
) -> None:
    """Host a trained model, so that `vigil detect` and AWS clients can use it."""
    with connect(data_dir, port) as client:
        version = version or newest(client, project, "TRAINED", "HOSTING_FAILED", "HOSTED")
        if client.model(project, version).status != "HOSTED":
            client.start_model(project, version, units, max_units)
        with progress() as bar:
            state = await_model(client, project, version, "STARTING_HOSTING", bar)
    _must_be(state, project, "HOSTED")
    out.print(f"Version {state.version} of project '{project}' is hosted.", soft_wrap=True)


def stop(project: Project, version: Version = None, data_dir: DataDir = None, port: Port = None) -> None:
    """Stop to host a model; it stays trained."""
    with connect(data_dir, port) as client:
        version = version or newest(client, project, "HOSTED", "STARTING_HOSTING", "HOSTING_FAILED")
        client.stop_model(project, version)
        with progress() as bar:
            state = await_model(client, project, version, "STOPPING_HOSTING", bar)
    _must_be(state, project, "TRAINED")
    out.print(f"Version {state.version} of project '{project}' is stopped.", soft_wrap=True)


def await_trained(client: Client, project: str, version: str, bar: Progress) -> ModelState:
    """Wait for the end of a training. Raises CommandError where it failed."""
    return _must_be(await_model(client, project, version, "TRAINING", bar), project, "TRAINED")


def newest(client: Client, project: str, *statuses: str) -> str:
    """The newest version in one of these statuses. Raises CommandError that names the versions there are."""
    models = client.models(project)
    for model in models:
        if model.status in statuses:
            return model.version
    there = ", ".join(f"{model.version} is {model.status}" for model in models) or "there is none yet"
    what = {"HOSTED": "hosted; `vigil start` does that", "TRAINED": "trained; `vigil train` does that"}
    raise CommandError(f"No version of project '{project}' is {what.get(statuses[0], statuses[0])} ({there}).")


def figures(state: ModelState) -> str:
    """The model's figures in words."""
    if state.performance is None:
        return "no figures"
    named = {"F1": "F1Score", "precision": "Precision", "recall": "Recall"}
    return ", ".join(f"{name} {state.performance[key]:.3f}" for name, key in named.items())


def read_options(options: list[str]) -> dict[str, str]:
    """NAME=VALUE texts → the tags that the service understands. Raises CommandError."""
    tags = {}
    for option in options:
        name, separator, value = option.partition("=")
        tag = f"{PREFIX}{name.strip().replace('_', '-')}"
        if not separator or tag not in TAGS:
            raise CommandError(f"--option {option}: write NAME=VALUE with one of these names: {_OPTIONS}.")
        tags[tag] = value.strip()
    return tags


def _must_be(state: ModelState, project: str, status: str) -> ModelState:
    if state.status != status:
        raise CommandError(f"Version {state.version} of project '{project}' is {state.status}: {state.message}")
    return state
