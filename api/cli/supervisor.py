"""`vigil up`: the whole service as children of one process; and `vigil env`: how a client finds it."""

import shlex
import signal
import threading
import time
from typing import Annotated, Literal

import typer

from api import tls
from api.cli.address import HOST
from api.cli.keys import first_key
from api.cli.object_store import choose_store, describe_store, has_minio, minio_child, with_store
from api.cli.options import DataDir, Port, read_settings
from api.cli.service import Service, await_port, locked, prepare
from api.cli.terminal import CommandError, say
from storage.lifeline import die_with_parent
from storage.settings import Settings

_CHECK_SECONDS = 0.2
_READY_SECONDS = 180.0  # a first start on a slow disk reads a gigabyte of libraries

Objects = Annotated[
    Literal["auto", "directory", "minio"] | None,
    typer.Option(
        "--objects",
        help="Where images and models lie. Default: VIGIL_OBJECTS, or auto: where this directory began to keep them; "
        "at the first start in MinIO, where that is found, else in folders.",
    ),
]
Parent = Annotated[int | None, typer.Option("--parent", hidden=True)]


def up(data_dir: DataDir = None, port: Port = None, objects: Objects = None, parent: Parent = None) -> None:
    """Start Vigil on this machine: API, training and inference. Ctrl-C stops it; nothing is lost."""
    die_with_parent(parent)
    settings = read_settings(data_dir, port, **({"objects": objects} if objects else {}))
    if settings.host not in (HOST, "localhost"):
        raise CommandError(
            f"`vigil up` listens on this machine only ({HOST}), but VIGIL_HOST is '{settings.host}': unset it."
        )
    tls.check(settings)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    with locked(settings.data_dir):
        await_port(settings.port)
        choose_store(settings)
        prepare(settings)
        settings = with_store(settings)
        if has_minio(settings):
            await_port(settings.port + 1, " (for S3; the one after --port)")
        service = Service(settings, minio_child(settings) if has_minio(settings) else None)
        try:
            service.start()
            _watch(service, settings, ended)
        finally:
            say("Vigil stops.")
            service.stop()
    say("Vigil has stopped.")


def env(data_dir: DataDir = None, port: Port = None) -> None:
    """Print the `export` lines that point AWS clients at Vigil. Use it as: eval "$(vigil env)" """
    settings = with_store(read_settings(data_dir, port))
    key = first_key(settings)
    certificate = tls.certificate(settings)
    host = certificate.host if certificate else HOST
    values = {"AWS_ENDPOINT_URL_LOOKOUTVISION": tls.url(host, settings.port, secure=certificate is not None)}
    if has_minio(settings) and settings.objects_url:
        values["AWS_ENDPOINT_URL_S3"] = settings.objects_url
    values |= {
        "AWS_ACCESS_KEY_ID": key.id,
        "AWS_SECRET_ACCESS_KEY": key.secret,
        "AWS_DEFAULT_REGION": settings.region,
    }
    if certificate is not None and certificate.self_signed:
        values["AWS_CA_BUNDLE"] = str(certificate.path)
    for name, value in values.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


def _watch(service: Service, settings: Settings, ended: threading.Event) -> None:
    say("Vigil starts; this takes a few seconds.")
    ready, deadline = False, time.monotonic() + _READY_SECONDS
    while not ended.wait(_CHECK_SECONDS):
        service.tend()
        if not ready and (ready := service.ready()):
            say(f"Vigil listens on {service.address.url}")
            say(f"Data directory: {settings.data_dir.absolute()}")
            say(f"Objects: {describe_store(settings)}")
            say("`vigil env` prints the lines that point AWS clients at it. Ctrl-C stops it.")
        elif not ready and time.monotonic() > deadline:
            raise CommandError(
                f"Vigil did not become ready within {_READY_SECONDS:.0f} s; the reason is in the lines above. "
                "`vigil doctor` checks the machine."
            )
