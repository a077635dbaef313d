"""`vigil doctor`: what of this machine Vigil needs, whether it is there, and what to do where it is not."""

import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy.exc import SQLAlchemyError

from api import tls
from api.cli.address import Address
from api.cli.object_store import GET_MINIO, describe_store, find_program, has_minio, kept_in, with_store
from api.cli.options import DataDir, Port, read_settings
from api.cli.service import port_is_free
from api.cli.terminal import CommandError, out
from storage.catalogue import Catalogue
from storage.data_keys import DataKeys
from storage.database import Database
from storage.errors import StorageError, Unreachable
from storage.settings import Settings
from storage.stores import open_objects

_PACKAGES = ("vigil", "torch", "torchvision", "numpy", "pillow", "fastapi", "sqlalchemy", "celery")
_GIB = 2**30
_LITTLE_DISK, _TOO_LITTLE_DISK = 10 * _GIB, _GIB
# Asked of a child: the command line itself never loads torch, which takes seconds and hundreds of megabytes.
_ASK_TORCH = """
import json, torch
gpus = []
for n in range(torch.cuda.device_count()):
    p = torch.cuda.get_device_properties(n)
    gpus.append(f"{p.name}, {p.total_memory / 2**30:.0f} GiB, compute capability {p.major}.{p.minor}")
print(json.dumps({"torch": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}))
"""


class Level(StrEnum):
    """How a check came out."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """One row of the report."""

    what: str
    level: Level
    detail: str
    advice: str = ""


def doctor(data_dir: DataDir = None, port: Port = None) -> None:
    """Check this machine. Exit code 1 where something is wrong; a warning is no fault."""
    settings = read_settings(data_dir, port)
    findings = list(examine(settings))
    table = Table("Check", "Result", "Found", "What to do")
    for column in table.columns[2:]:
        column.overflow = "fold"
    styles = {Level.OK: "green", Level.WARNING: "yellow", Level.WRONG: "bold red"}
    for finding in findings:
        table.add_row(finding.what, Text(finding.level, styles[finding.level]), finding.detail, finding.advice)
    out.print(table)
    if any(finding.level is Level.WRONG for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """All checks, in the order in which things are needed."""
    yield _python()
    yield _packages()
    yield from _torch()
    yield _weights(settings)
    yield _writable(settings.data_dir)
    yield _disk(settings.data_dir)
    yield _catalogue(settings)
    yield _objects(settings)
    yield _data_keys(settings)
    yield from _certificate(settings)
    yield _port(settings)


def _python() -> Finding:
    text = f"{platform.python_version()} in {sys.prefix}"
    if (3, 11) <= sys.version_info < (3, 14):
        return Finding("Python", Level.OK, text)
    return Finding("Python", Level.WRONG, text, "Use Python 3.11, 3.12 or 3.13; `make setup PYTHON=python3.11`.")


def _packages() -> Finding:
    found, missing = [], []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding("Packages", Level.WRONG, f"missing: {', '.join(missing)}", "Run `make setup`.")
    return Finding("Packages", Level.OK, ", ".join(found))


def _torch() -> Iterator[Finding]:
    answer = _run([sys.executable, "-c", _ASK_TORCH])
    if answer is None or answer.returncode:
        last = "it did not answer" if answer is None else answer.stderr.strip().rpartition("\n")[2]
        yield Finding("torch", Level.WRONG, f"cannot be loaded: {last}", "Run `make setup`.")
        return
    torch: dict[str, Any] = json.loads(answer.stdout)
    built = f"CUDA {torch['cuda']}" if torch["cuda"] else "no CUDA in this build"
    yield Finding("torch", Level.OK, f"{torch['torch']}, {built}")
    driver = _driver()
    if torch["gpus"]:
        yield Finding("GPU", Level.OK, "; ".join([*torch["gpus"], f"driver {driver or 'unknown'}"]))
    elif driver:
        advice = "Update the NVIDIA driver to one for this CUDA version, or install a torch build with CUDA."
        yield Finding("GPU", Level.WRONG, f"driver {driver} is there, but torch sees no GPU", advice)
    else:
        advice = (
            "Vigil works on the CPU, only slower. With an NVIDIA GPU: install its driver, so that `nvidia-smi` works."
        )
        yield Finding("GPU", Level.WARNING, "none: no NVIDIA driver on this machine", advice)


def _driver() -> str | None:
    program = shutil.which("nvidia-smi")
    answer = program and _run([program, "--query-gpu=driver_version", "--format=csv,noheader"])
    return answer.stdout.strip().partition("\n")[0] if answer and not answer.returncode else None


def _run(command: list[str]) -> subprocess.CompletedProcess[str] | None:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)  # noqa: S603 - our own code, and nvidia-smi
    except (OSError, subprocess.TimeoutExpired):
        return None


def _weights(settings: Settings) -> Finding:
    folder = settings.weights
    large = sorted(folder.glob("wide_resnet50_2*.pth")) + sorted(folder.glob("wide_resnet50_2*.safetensors"))
    if large:
        return Finding("Weights", Level.OK, f"backbone 'auto' takes wide_resnet50_2 ({large[0]})")
    package = importlib.util.find_spec("gpu")
    places = package.submodule_search_locations if package else None
    own = {file.stem for place in places or () for file in (Path(place) / "pretrained").glob("*.safetensors")}
    if not own >= {"vigil-s", "vigil-m"}:
        return Finding("Weights", Level.WRONG, "a backbone that comes with Vigil is missing", "Install Vigil again.")
    text = f"backbone 'auto' takes vigil-m on a GPU, else vigil-s, both Vigil's own; no wide_resnet50_2 in {folder}"
    return Finding("Weights", Level.OK, text, f"Optional: put torchvision's wide_resnet50_2 file into {folder}.")


def _writable(data_dir: Path) -> Finding:
    existing = _existing(data_dir)
    if not existing.is_dir():
        advice = "Name a directory with --data-dir or VIGIL_DATA_DIR."
        return Finding("Data directory", Level.WRONG, f"{existing} is not a directory", advice)
    if not os.access(existing, os.W_OK | os.X_OK):
        advice = f"Give this user the right to write there (`ls -ld {existing}`), or choose another with --data-dir."
        return Finding("Data directory", Level.WRONG, f"{existing} cannot be written by this user", advice)
    state = "can be written" if existing == data_dir else "is not there yet; `vigil up` makes it"
    return Finding("Data directory", Level.OK, f"{data_dir} {state}")


def _disk(data_dir: Path) -> Finding:
    free = shutil.disk_usage(_existing(data_dir)).free
    text = f"{free / _GIB:.1f} GiB free for {data_dir}"
    if free < _TOO_LITTLE_DISK:
        return Finding("Disk", Level.WRONG, text, "Make room, or choose a directory on another disk with --data-dir.")
    if free < _LITTLE_DISK:
        return Finding("Disk", Level.WARNING, text, "Enough for a trial; 16,000 images of 8 MB need 128 GiB.")
    return Finding("Disk", Level.OK, text)


def _catalogue(settings: Settings) -> Finding:
    if settings.catalogue_url is None and not (settings.data_dir / "catalogue.sqlite").exists():
        return Finding("Catalogue", Level.OK, "not there yet; `vigil up` makes it")
    database = Database(settings.catalogue)
    try:
        count = len(Catalogue(database).projects())
    except SQLAlchemyError as error:
        advice = "Start `vigil up` once, which brings it to the newest form; else restore it from a backup."
        return Finding("Catalogue", Level.WRONG, str(getattr(error, "orig", None) or error), advice)
    finally:
        database.close()
    return Finding("Catalogue", Level.OK, f"opens; projects: {count}")


def _objects(settings: Settings) -> Finding:
    what, program = "Object store", find_program()
    if kept_in(settings) is None and settings.objects_url is None:
        if settings.objects == "directory" or (settings.objects == "auto" and program is None):
            return Finding(what, Level.OK, "not there yet; `vigil up` makes folders", f"Optional, for S3: {GET_MINIO}.")
        return Finding(what, Level.OK, f"not there yet; `vigil up` starts MinIO ({program})")
    if has_minio(settings):
        if program is None:
            return Finding(what, Level.WRONG, "kept in MinIO, which is not found now", f"{GET_MINIO}.")
        if port_is_free(settings.port + 1):
            return Finding(what, Level.OK, f"MinIO ({program}) does not run now", "`vigil up` starts it.")
    try:
        open_objects(with_store(settings)).check()
    except Unreachable as error:
        advice = "Look at the output of that server; for MinIO of `vigil up`, at the output of `vigil up`."
        return Finding(what, Level.WRONG, str(error), advice)
    except (StorageError, CommandError) as error:
        return Finding(what, Level.WRONG, str(error), "Give this user the right to write there, or make room.")
    return Finding(what, Level.OK, f"can be used: {describe_store(settings)}")


def _certificate(settings: Settings) -> Iterator[Finding]:
    if settings.tls_certificate is None:
        return
    try:
        tls.check(settings)
    except tls.CertificateError as error:
        advice = "Put right what VIGIL_TLS_CERTIFICATE and VIGIL_TLS_KEY name, or unset both."
        yield Finding("Certificate", Level.WRONG, str(error), advice)
    else:
        yield Finding("Certificate", Level.OK, f"{settings.tls_certificate} can be used")


def _data_keys(settings: Settings) -> Finding:
    keys = DataKeys(settings.kms_keys)
    names, problems = list(keys.names()), []
    for name in names:
        try:
            keys.read(f"alias/{name}")
        except StorageError as error:
            problems.append(str(error))
    if problems:
        return Finding("Data keys", Level.WRONG, "; ".join(problems), "Put the files back from your backup.")
    if exposed := keys.exposed():
        advice = f"chmod -R go= {shlex.quote(str(keys.folder))}"
        return Finding("Data keys", Level.WARNING, f"others may read {', '.join(map(str, exposed))}", advice)
    if not names:
        return Finding("Data keys", Level.OK, "none; `vigil kms create NAME` makes one for KmsKeyId")
    return Finding("Data keys", Level.OK, f"{', '.join(names)} in {keys.folder}", "Keep a backup of this folder.")


def _port(settings: Settings) -> Finding:
    if port_is_free(settings.port):
        return Finding("Port", Level.OK, f"{settings.port} is free; Vigil does not run there", "`vigil up` starts it.")
    try:
        address = Address.local(settings)
    except tls.CertificateError:
        text = f"{settings.port} is taken; whether by Vigil cannot be seen without its certificate"
        return Finding("Port", Level.WARNING, text)
    url = address.url
    try:
        answer = httpx.get(f"{url}/readyz", timeout=5, trust_env=False, verify=address.trust)
    except httpx.HTTPError:
        answer = None
    if answer is not None and answer.is_success:
        return Finding("Port", Level.OK, f"Vigil answers at {url}")
    if answer is not None and answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
        advice = "Wait a few seconds; else look at the output of `vigil up`."
        return Finding("Port", Level.WARNING, f"a service at {url} is not ready: {answer.text[:200]}", advice)
    advice = "Choose another one with --port, or end the program that has it."
    return Finding("Port", Level.WRONG, f"{settings.port} is taken by another program", advice)


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
