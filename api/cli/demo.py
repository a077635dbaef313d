"""`vigil demo`: the whole service at work, from images to decisions, in a directory of its own."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

from api.cli.address import Address
from api.cli.client import Client, ModelState
from api.cli.demo_images import SEED, Plan, make_plan
from api.cli.demo_report import Times, report
from api.cli.detection import detect_all
from api.cli.importing import import_samples
from api.cli.models import EVALUATIONS, await_trained
from api.cli.object_store import with_store
from api.cli.options import read_settings
from api.cli.outcomes import Outcome
from api.cli.parts import write_parts
from api.cli.pictures import Picture
from api.cli.service import answers, port_is_free
from api.cli.terminal import CommandError, progress, say
from api.cli.waiting import await_all, await_model
from storage.objects import OWN_BUCKET
from storage.settings import Settings
from storage.stores import open_objects

_PROJECT = "demo"
_START_SECONDS, _STOP_SECONDS = 180.0, 30.0
# A demonstration keeps to its own directory, whatever the environment says about a real one.
_ELSEWHERE = (
    "catalogue_url",
    "broker_url",
    "objects_url",
    "objects_access_key",
    "objects_secret_key",
    "tls_certificate",
    "tls_key",
)
_NOT_INHERITED = {f"VIGIL_{name.upper()}" for name in ("data_dir", "port", "host", *_ELSEWHERE)}

Data = Annotated[
    Path | None,
    typer.Option(
        "--data", help="Folder of images: normal/ and anomaly/, or the layout of MVTec AD. Default: rendered."
    ),
]
Output = Annotated[Path, typer.Option("--output", help="Folder for the heat maps.")]
Keep = Annotated[bool, typer.Option("--keep", help="Keep the directory with all data for a look at it.")]


def demo(data: Data = None, output: Output = Path("demo-output"), *, keep: Keep = False) -> None:
    """Show Vigil at work: import, train, host and detect on unseen images; takes about a minute."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a demo that is ended cleans up like one interrupted
    times = Times()
    with contextlib.ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="vigil-demo-"))
        stack.callback(_remove, place, keep=keep)
        settings = read_settings(place / "data", _free_port(), **dict.fromkeys(_ELSEWHERE))
        plan = make_plan(data, settings) if data else None
        await_ready = stack.enter_context(_served(settings, place / "vigil.log"))
        if plan is None:
            # Rendered while the service starts: on two cores that saves seconds.
            with times.step("render parts"):
                write_parts(place / "parts", seed=SEED)
            plan = make_plan(place / "parts", settings, rendered=True)
        with times.step("wait for the service"):
            await_ready()
        with Client.for_settings(settings, environment=False) as client:
            trained, outcomes = _run(client, settings, plan, output, times)
            if not keep:
                with times.step("delete everything"):
                    _delete(client)
    report(plan, trained, outcomes, times, output)


def _run(
    client: Client, settings: Settings, plan: Plan, output: Path, times: Times
) -> tuple[ModelState, list[Outcome]]:
    with progress() as bar:
        with times.step("import images"):
            objects = open_objects(with_store(settings))
            for type_, samples in (("train", plan.train), ("test", plan.test)):
                if samples:
                    for skipped in import_samples(client, objects, _PROJECT, type_, samples, bar):
                        bar.console.print(f"Skipped: {skipped.name} {skipped.reason}.", soft_wrap=True)
        with times.step("train"):
            version = client.create_model(_PROJECT, OWN_BUCKET, EVALUATIONS, {}, None)
            trained = await_trained(client, _PROJECT, version, bar)
        with times.step("host"):
            client.start_model(_PROJECT, version, 1)
            await_model(client, _PROJECT, version, "STARTING_HOSTING", bar)
        pictures = [Picture.file(sample.path, sample.name.removeprefix("test/")) for sample in plan.unseen]
        with times.step(f"detect {len(pictures)} images"):
            outcomes = detect_all(client, _PROJECT, version, pictures, output, bar)
        with times.step("stop hosting"):
            client.stop_model(_PROJECT, version)
            await_model(client, _PROJECT, version, "STOPPING_HOSTING", bar)
    return trained, outcomes


def _delete(client: Client) -> None:
    for model in client.models(_PROJECT):
        client.delete_model(_PROJECT, model.version)
    if not await_all(lambda: not client.models(_PROJECT), _STOP_SECONDS):
        raise CommandError(f"The model of project '{_PROJECT}' was not deleted within {_STOP_SECONDS:.0f} s.")
    for dataset in client.datasets(_PROJECT):
        client.delete_dataset(_PROJECT, dataset.type)
    client.delete_project(_PROJECT)


@contextlib.contextmanager
def _served(settings: Settings, log: Path) -> Iterator[Callable[[], None]]:
    """`vigil up` as a child, ended at the end. → waits until it can be used

    A CommandError on the way gets the end of the service's log.
    """
    address = Address.local(settings)
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    # Processes that are killed leave their temporary files; here they go with everything else.
    inherited["TMPDIR"] = str(log.with_name("tmp"))
    log.with_name("tmp").mkdir()
    command = [sys.executable, "-P", "-m", "api.cli.main", "up", "--parent", str(os.getpid())]
    command += ["--data-dir", str(settings.data_dir), "--port", str(settings.port)]
    with log.open("wb") as file:
        # A session of its own: Ctrl-C reaches the demo alone, which then ends the service in order.
        service = subprocess.Popen(command, stdout=file, stderr=file, env=inherited, start_new_session=True)  # noqa: S603 - our own module

    def await_ready() -> None:
        await_all(lambda: service.poll() is not None or answers(address), _START_SECONDS)
        if not answers(address):
            raise CommandError("The service did not start.")

    try:
        yield await_ready
    except CommandError as error:
        raise CommandError(f"{error}\nThe end of the service's log:\n{_tail(log)}") from error
    finally:
        service.terminate()
        try:
            service.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            service.kill()
            service.wait()


def _free_port() -> int:
    """The service's usual port, or the next one that is free together with that of an object store."""
    first = int(Settings.model_fields["port"].default)
    return next(port for port in range(first, first + 1000) if port_is_free(port) and port_is_free(port + 1))


def _remove(place: Path, *, keep: bool) -> None:
    if keep:
        say(f"Kept in {place}; `vigil up --data-dir {place / 'data'}` goes on with it.")
    else:
        shutil.rmtree(place)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
