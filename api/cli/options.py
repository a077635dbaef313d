"""Options that several commands share, and the settings they lead to."""

from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from api.cli.client import Client
from api.cli.terminal import CommandError
from storage.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="Directory that holds everything. Default: VIGIL_DATA_DIR, or your data folder."),
]
Port = Annotated[
    int | None,
    typer.Option("--port", min=1, max=65534, help="Port of the service. Default: VIGIL_PORT, or 7580."),
]
Project = Annotated[str, typer.Argument(help="Name of the project.", show_default=False)]


def read_settings(data_dir: Path | None = None, port: int | None = None, **fixed: Any) -> Settings:
    """The settings of the environment, with what the command line says, or `fixed`, instead. Raises CommandError."""
    chosen = {"data_dir": data_dir, "port": port}
    fixed |= {name: value for name, value in chosen.items() if value is not None}
    try:
        return Settings(**fixed)
    except ValidationError as error:
        problems = "; ".join(_problem(item["loc"], item["msg"]) for item in error.errors())
        raise CommandError(f"The settings cannot be used: {problems}") from None


def connect(data_dir: Path | None, port: int | None) -> Client:
    """A client of the service that the options, the environment or the defaults name; options come first."""
    settings = read_settings(data_dir, port)
    return Client.for_settings(settings, environment=data_dir is None and port is None)


def _problem(location: tuple[int | str, ...], message: str) -> str:
    return f"VIGIL_{str(location[0]).upper()}: {message}" if location else message.removeprefix("Value error, ")
