"""The object store of `vigil up`: MinIO, an S3 server, where its program is found; else folders.

A data directory keeps the store that it began with. Which one that is, its folders tell: `minio` or `objects`.
"""

import base64
import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from pydantic import SecretStr

from api.cli.address import HOST
from api.cli.client import Client
from api.cli.keys import first_key, owns_key
from api.cli.options import read_settings
from api.cli.service import Child
from api.cli.terminal import CommandError
from storage.access import read_or_make_key
from storage.objects import Objects
from storage.settings import Settings
from storage.stores import open_objects

GET_MINIO = "Put the program `minio` on the PATH (in Vigil's folder `make minio` builds it)"
_NAMES = {"minio": "MinIO", "directory": "folders"}


def find_program() -> str | None:
    """MinIO's program: beside the Python that runs this, or on the PATH."""
    return shutil.which("minio", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}")


def kept_in(settings: Settings) -> Literal["minio", "directory"] | None:
    """The store that this data directory began with, or None before its first start."""
    if settings.minio_dir.exists():
        return "minio"
    return "directory" if settings.objects_dir.exists() else None


def choose_store(settings: Settings) -> None:
    """Make the folder of the store at the first start. Raises CommandError where the one wanted cannot be had."""
    kept, wanted = kept_in(settings), settings.objects
    if settings.objects_url:
        if wanted != "auto":
            raise CommandError(
                f"VIGIL_OBJECTS_URL names an S3 server for all objects, but {wanted} is asked for too: unset "
                "VIGIL_OBJECTS_URL, or leave out --objects (VIGIL_OBJECTS)."
            )
        return
    if kept and wanted not in ("auto", kept):
        raise CommandError(
            f"{settings.data_dir} keeps its objects in {_NAMES[kept]}, not in {_NAMES[wanted]}, and they would be "
            "missing: leave out --objects (VIGIL_OBJECTS), or choose another directory with --data-dir."
        )
    store = kept or (wanted if wanted != "auto" else "minio" if find_program() else "directory")
    if store == "minio":
        _program(settings)
    folder = settings.minio_dir if store == "minio" else settings.objects_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def has_minio(settings: Settings) -> bool:
    """Whether the objects of this data directory lie in a MinIO of its own."""
    return kept_in(settings) == "minio" and settings.objects_url in (None, _address(settings))


def describe_store(settings: Settings) -> str:
    """Where objects lie, in words."""
    if has_minio(settings):
        return f"MinIO, which speaks S3 at {_address(settings)}"
    return f"the S3 server at {settings.objects_url}" if settings.objects_url else f"folders in {settings.objects_dir}"


def with_store(settings: Settings) -> Settings:
    """The settings with address and keys of this data directory's MinIO, where it has one. Raises CommandError.

    Its keys are those of the first admin access key, so that a program needs one pair for the API and for S3.
    """
    if not has_minio(settings):
        return settings
    key = first_key(settings)
    found = {
        "objects_url": _address(settings),
        "objects_access_key": key.id,
        "objects_secret_key": SecretStr(key.secret),
    }
    return settings.model_copy(update=found)


def objects_of(client: Client, data_dir: Path | None, port: int | None) -> Objects | None:
    """The object store of the client's service; None where that keeps its data elsewhere than the settings say."""
    # A MinIO of the service's own is found by the port of the service that was found.
    settings = read_settings(data_dir, port or client.port)
    return open_objects(with_store(settings)) if owns_key(settings, client.key.id) else None


def minio_child(settings: Settings) -> Child:
    """MinIO as a process of the service, for settings that `with_store` has completed. Raises CommandError."""
    # A MinIO of this user's own is configured by such variables; none of them is meant for this one.
    for name in [name for name in os.environ if name.startswith("MINIO_")]:
        del os.environ[name]
    folder, secret = settings.minio_dir, settings.objects_secret_key
    key_file, drive = folder / "encryption.key", folder / "drive"
    if drive.exists() and not key_file.exists():
        raise CommandError(f"{key_file} is missing, without which MinIO cannot read {drive}: put it back.")
    key = base64.b64encode(read_or_make_key(key_file)).decode()
    arguments = ("server", "--quiet", "--anonymous", "--certs-dir", str(folder / "certs"))
    place = ("--address", _address(settings).removeprefix("http://"), str(drive))
    environment = {
        "MINIO_ROOT_USER": settings.objects_access_key or "",
        "MINIO_ROOT_PASSWORD": secret.get_secret_value() if secret else "",
        # Without a key, MinIO refuses uploads that ask for encryption.
        "MINIO_KMS_SECRET_KEY": f"vigil:{key}",
        # It serves S3 to this machine, and calls nobody.
        "MINIO_BROWSER": "off",
        "MINIO_UPDATE": "off",
        "MINIO_CALLHOME_ENABLE": "off",
    }
    return Child("MinIO", "storage.lifeline", (_program(settings), *arguments, *place), environment)


def _address(settings: Settings) -> str:
    return f"http://{HOST}:{settings.port + 1}"


def _program(settings: Settings) -> str:
    program = find_program()
    if program is None:
        if kept_in(settings) == "minio":
            raise CommandError(f"{settings.data_dir} keeps its objects in MinIO, which is not found now. {GET_MINIO}.")
        raise CommandError(f"MinIO is asked for, but not found. {GET_MINIO}, or leave out --objects (VIGIL_OBJECTS).")
    return program
