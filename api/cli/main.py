"""The command line's entry point: every command, and the one place where errors become messages."""

from importlib.metadata import version
from typing import Annotated, Any

import typer
from sqlalchemy.exc import SQLAlchemyError
from typer.core import TyperGroup

from api.cli import access, demo, detection, doctor, importing, kms, models, overview, service_model, supervisor
from api.cli.terminal import CommandError, err
from api.tls import CertificateError
from storage.errors import StorageError


class _Boundary(TyperGroup):
    """Turns the errors that users can act on into one red line and exit code 1; others keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (CommandError, StorageError, CertificateError) as error:
            message = str(error)
        except SQLAlchemyError as error:
            message = (
                f"The catalogue cannot be used: {getattr(error, 'orig', None) or error}. `vigil doctor` checks it."
            )
        except OSError as error:
            message = ": ".join(str(part) for part in (error.filename, error.strerror or error) if part)
        err.print(message, style="red", soft_wrap=True)
        raise typer.Exit(1)


app = typer.Typer(
    name="vigil",
    cls=_Boundary,
    help="Visual anomaly detection on your own machine, with the API of Amazon Lookout for Vision.",
    no_args_is_help=True,
    add_completion=False,
    # A traceback with local variables would show access keys.
    pretty_exceptions_enable=False,
)


def _version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"vigil {version('vigil')}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=lambda value: _version(wanted=value), is_eager=True, help="Show the version and exit."
    ),
]


@app.callback()
def _options(*, show_version: Version = False) -> None:
    del show_version  # its callback has done the work


app.command()(supervisor.up)
app.command()(supervisor.env)
app.command("import")(importing.import_)
app.command()(models.train)
app.command()(models.start)
app.command()(models.stop)
app.command()(detection.detect)
app.command()(overview.status)
app.command("list")(overview.list_)
app.command()(doctor.doctor)
app.add_typer(access.app, name="keys")
app.add_typer(kms.app, name="kms")
app.command()(service_model.service_model)
app.command()(demo.demo)

if __name__ == "__main__":
    app()
