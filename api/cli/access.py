"""`vigil keys …`: who may call the service."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from api.cli.keys import first_key
from api.cli.options import DataDir, read_settings
from api.cli.terminal import out, say
from storage.access import AccessKeys
from storage.database import Database
from storage.records import Role

app = typer.Typer(help="Create, list and revoke the access keys that clients sign with.", no_args_is_help=True)


@app.command()
def create(
    role: Annotated[Role, typer.Option(help="What the key may do.")] = Role.INSPECTOR, data_dir: DataDir = None
) -> None:
    """Make a key and print it. An inspector looks and detects, an operator starts and stops models too."""
    with _keys(data_dir) as keys:
        key = keys.create(role)
    typer.echo(f"export AWS_ACCESS_KEY_ID={shlex.quote(key.id)}")
    typer.echo(f"export AWS_SECRET_ACCESS_KEY={shlex.quote(key.secret)}")


@app.command(name="list")
def list_(data_dir: DataDir = None) -> None:
    """Show all keys, without their secrets."""
    table = Table("Access key", "Role", "Made")
    with _keys(data_dir) as keys:
        for id_, role, created in keys.all():
            table.add_row(id_, role, f"{created.astimezone():%Y-%m-%d %H:%M}")
    out.print(table)


@app.command()
def revoke(id_: Annotated[str, typer.Argument(metavar="ID", show_default=False)], data_dir: DataDir = None) -> None:
    """Take a key's rights away, at once."""
    with _keys(data_dir) as keys:
        keys.revoke(id_)
    say(f"The access key {id_} is revoked.")


@contextmanager
def _keys(data_dir: Path | None) -> Iterator[AccessKeys]:
    settings = read_settings(data_dir)
    first_key(settings)
    database = Database(settings.catalogue)
    try:
        yield AccessKeys(database, settings.data_dir / "secret.key")
    finally:
        database.close()
