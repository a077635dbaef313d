"""`vigil keys …`: who may call the service."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.table import Table

from api.cli.keys import first_key
from api.cli.object_store import has_minio
from api.cli.options import DataDir, read_settings
from api.cli.service import is_running
from api.cli.terminal import CommandError, out, say
from api.shapes import ProjectNameText
from storage.access import AccessKeys
from storage.database import Database
from storage.records import Role

_PROJECT: TypeAdapter[str] = TypeAdapter(ProjectNameText)

app = typer.Typer(help="Create, list and revoke the access keys that clients sign with.", no_args_is_help=True)


@app.command()
def create(
    role: Annotated[Role, typer.Option(help="What the key may do.")] = Role.INSPECTOR,
    project: Annotated[
        list[str] | None, typer.Option(help="Project that the key is limited to; give it once for each.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it. An inspector looks and detects, an operator starts and stops models too."""
    for name in project or ():
        _check_project(name)
    with _keys(data_dir) as keys:
        key = keys.create(role, project or ())
    typer.echo(f"export AWS_ACCESS_KEY_ID={shlex.quote(key.id)}")
    typer.echo(f"export AWS_SECRET_ACCESS_KEY={shlex.quote(key.secret)}")


@app.command(name="list")
def list_(data_dir: DataDir = None) -> None:
    """Show all keys, without their secrets."""
    table = Table("Access key", "Role", "Projects", "Made")
    with _keys(data_dir) as keys:
        for key in keys.all():
            projects = "all" if key.projects is None else ", ".join(sorted(key.projects))
            table.add_row(key.id, key.role, projects, f"{key.created.astimezone():%Y-%m-%d %H:%M}")
    out.print(table)


@app.command()
def revoke(id_: Annotated[str, typer.Argument(metavar="ID", show_default=False)], data_dir: DataDir = None) -> None:
    """Take a key's rights away, within a second."""
    settings = read_settings(data_dir)
    with _keys(data_dir) as keys:
        admins = [key.id for key in keys.all() if key.role is Role.ADMIN and key.projects is None]
        if id_ in admins[:1] and len(admins) > 1 and has_minio(settings) and is_running(settings.data_dir):
            # MinIO reads its keys when it starts, and a key that is revoked must open nothing any more.
            raise CommandError(
                f"{id_} is the key that opens the buckets of the running service: stop `vigil up` first, revoke the "
                "key, and start again. The buckets then open with the oldest admin key that is left."
            )
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


def _check_project(name: str) -> None:
    try:
        _PROJECT.validate_python(name)
    except ValidationError as error:
        raise CommandError(f"The project '{name}' cannot be: its name {error.errors()[0]['msg']}.") from None
