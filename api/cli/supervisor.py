"""`vigil up`: the whole service as children of one process; and `vigil env`: how a client finds it."""

import shlex
import signal
import threading
import time
from typing import Annotated

import typer

from api.cli.keys import first_key
from api.cli.options import DataDir, Port, read_settings
from api.cli.service import HOST, Service, await_port, locked, prepare
from api.cli.terminal import CommandError, say
from storage.lifeline import die_with_parent
from storage.settings import Settings

_CHECK_SECONDS = 0.2
_READY_SECONDS = 180.0  # a first start on a slow disk reads a gigabyte of libraries

Parent = Annotated[int | None, typer.Option("--parent", hidden=True)]


def up(data_dir: DataDir = None, port: Port = None, parent: Parent = None) -> None:
    """Start Vigil on this machine: API, training and inference. Ctrl-C stops it; nothing is lost."""
    die_with_parent(parent)
    settings = read_settings(data_dir, port)
    if settings.host not in (HOST, "localhost"):
        raise CommandError(
            f"`vigil up` listens on this machine only ({HOST}), but VIGIL_HOST is '{settings.host}': unset it."
        )
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with locked(settings.data_dir):
        await_port(settings.port)
        prepare(settings)
        service = Service(settings)
        try:
            service.start()
            _watch(service, settings, ended)
        finally:
            say("Vigil stops.")
            service.stop()
    say("Vigil has stopped.")


def env(data_dir: DataDir = None, port: Port = None) -> None:
    """Print the `export` lines that point AWS clients at Vigil. Use it as: eval "$(vigil env)" """
    settings = read_settings(data_dir, port)
    key = first_key(settings)
    values = {
        "AWS_ENDPOINT_URL_LOOKOUTVISION": f"http://{HOST}:{settings.port}",
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        "AWS_DEFAULT_REGION": settings.region,
    }
    for name, value in values.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _watch(service: Service, settings: Settings, ended: threading.Event) -> None:
    say("Vigil starts; this takes a few seconds.")
    ready, deadline = False, time.monotonic() + _READY_SECONDS
    while not ended.wait(_CHECK_SECONDS):
        service.tend()
        if not ready and (ready := service.ready()):
            say(f"Vigil listens on {service.url}")
            say(f"Data directory: {settings.data_dir.absolute()}")
            say("`vigil env` prints the lines that point AWS clients at it. Ctrl-C stops it.")
        elif not ready and time.monotonic() > deadline:
            raise CommandError(
                f"Vigil did not become ready within {_READY_SECONDS:.0f} s; the reason is in the lines above. "
                "`vigil doctor` checks the machine."
            )
