"""`vigil status` and `vigil list`: what there is, and what it is doing."""

from typing import Annotated

import typer
from rich.table import Table

from api.cli.client import Client
from api.cli.models import figures
from api.cli.options import DataDir, Port, connect
from api.cli.terminal import out, say

OneProject = Annotated[str | None, typer.Argument(help="Name of one project. Default: all.", show_default=False)]


def status(project: OneProject = None, data_dir: DataDir = None, port: Port = None) -> None:
    """Show projects with their data sets and models, statuses, messages and figures."""
    with connect(data_dir, port) as client:
        for name in _names(client, project):
            out.print(f"Project {name}", style="bold", soft_wrap=True)
            out.print(_datasets(client, name))
            out.print(_models(client, name))


def list_(data_dir: DataDir = None, port: Port = None) -> None:
    """List projects and their model versions, briefly."""
    with connect(data_dir, port) as client:
        for name in _names(client, None):
            models = ", ".join(f"{model.version} {model.status}" for model in client.models(name))
            out.print(f"{name}: {models or 'no model'}", soft_wrap=True)


def _names(client: Client, project: str | None) -> list[str]:
    names = client.projects() if project is None else [project]
    if not names:
        say("There is no project yet; `vigil import FOLDER --project NAME` makes one.")
    return names


def _datasets(client: Client, project: str) -> Table:
    table = Table("Set", "Images", "Normal", "Anomaly", "Status", "Message")
    table.columns[4].no_wrap = True
    for dataset in client.datasets(project):
        counts = (dataset.total, dataset.normal, dataset.anomaly)
        table.add_row(dataset.type, *map(str, counts), dataset.status, dataset.message)
    return table


def _models(client: Client, project: str) -> Table:
    table = Table("Model", "Status", "Figures", "Message")
    table.columns[1].no_wrap = True
    for model in client.models(project):
        shown = figures(model) if model.performance else ""
        table.add_row(model.version, model.status, shown, model.message)
    return table
