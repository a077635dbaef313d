"""`vigil kms …`: the data keys that CreateModel's KmsKeyId names. They seal models; access keys are another matter."""

from typing import Annotated

import typer

from api.cli.options import DataDir, read_settings
from api.cli.terminal import say
from storage.data_keys import DataKeys

app = typer.Typer(help="Create and list the data keys that seal models (KmsKeyId).", no_args_is_help=True)


@app.command()
def create(name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)], data_dir: DataDir = None) -> None:
    """Make a data key. KmsKeyId=NAME or alias/NAME in CreateModel seals a model with it."""
    settings = read_settings(data_dir)
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)  # else it would be made for all to read
    typer.echo(DataKeys(settings.kms_keys).create(name))
    say("Back this file up, apart from the models: without it nothing that it sealed can ever be opened again.")


@app.command(name="list")
def list_(data_dir: DataDir = None) -> None:
    """Show the names of all data keys."""
    for name in DataKeys(read_settings(data_dir).kms_keys).names():
        typer.echo(name)
