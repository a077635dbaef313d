"""The images of the stack, built from the Dockerfiles that ship.

An engine of our own reaches no registry. There the base is a Debian made by debootstrap, PostgreSQL and Redis are
Debian's, and the one step left out is the compiling of MinIO, which takes longer than all the rest: its Dockerfile gets
a GO image that holds the program that `make minio` built from the same source.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.compose.engine import Engine, Unavailable
from tests.minio import PROGRAM as MINIO

BASE, SERVERS, GO = "vigil-tests/debian", "vigil-tests/servers", "vigil-tests/go"
VIGIL, MINIO_IMAGE = "vigil-tests/vigil", "vigil-tests/minio"
_CERTIFICATES = "/etc/certificates-of-the-host.crt"


def build_images(engine: Engine, checkout: Path, folder: Path) -> Mapping[str, str]:
    """Build everything of an installation. → the variables of docker-compose.yml that name it. Raises Unavailable."""
    built = {"VIGIL_IMAGE": VIGIL, "VIGIL_MINIO_IMAGE": MINIO_IMAGE}
    if not engine.own:
        _compose(engine, checkout, built)
        return built
    if MINIO is None:
        raise Unavailable("the image of MinIO needs the program that `make minio` builds")
    _make_base(engine, folder / "base")
    shutil.copy(MINIO, folder / "minio")
    (folder / "Dockerfile").write_text(f"FROM {BASE}\nCOPY minio /go/bin/minio\n")
    _build(engine, GO, folder)
    bases = {"api": {"BASE": BASE}, "minio": {"BASE": BASE, "GO": GO}}
    changes = {service: {"build": {"network": "host", "args": arguments}} for service, arguments in bases.items()}
    (checkout / "build.yml").write_text(json.dumps({"services": changes}))
    with ThreadPoolExecutor() as pool:
        servers = pool.submit(_build, engine, SERVERS, Path(__file__).parent / "servers", f"BASE={BASE}")
        _compose(engine, checkout, built, "--file=docker-compose.yml", "--file=build.yml")
        servers.result()
    return {**built, "VIGIL_POSTGRES_IMAGE": SERVERS, "VIGIL_VALKEY_IMAGE": SERVERS}


def _compose(engine: Engine, checkout: Path, variables: Mapping[str, str], *files: str) -> None:
    # The other services of Vigil use the image of the API.
    engine.docker("compose", *files, "build", "api", "minio", folder=checkout, variables=variables)


def _make_base(engine: Engine, root: Path) -> None:
    """A bare Debian without Python; it trusts the certificates that this machine was told to trust."""
    done = subprocess.run(["debootstrap", "--variant=minbase", "bookworm", root], capture_output=True, check=False)
    if done.returncode:
        raise Unavailable(f"debootstrap cannot make a base image here: {done.stdout.decode().strip()[-200:]}")
    shutil.rmtree(root / "var" / "cache" / "apt")
    changes = []
    if certificates := os.environ.get("SSL_CERT_FILE"):
        shutil.copy(certificates, root / _CERTIFICATES.lstrip("/"))
        changes = [f"--change=ENV SSL_CERT_FILE={_CERTIFICATES} PIP_CERT={_CERTIFICATES}"]
    archive = root.with_suffix(".tar")
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    engine.docker("import", *changes, str(archive), BASE)
    archive.unlink()
    shutil.rmtree(root)


def _build(engine: Engine, tag: str, context: Path, *arguments: str) -> None:
    options = [word for argument in arguments for word in ("--build-arg", argument)]
    engine.docker("build", "--network=host", "--tag", tag, *options, str(context))
