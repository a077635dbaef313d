"""`vigil up` with a certificate: boto3, the command line and the probes speak https, and trust no other certificate."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import botocore.exceptions
import httpx
import pytest
from cryptography import x509

from tests.certificates import Files, authority, certificate
from tests.cli.conftest import vigil, where
from tests.conftest import wait_until
from tests.service import VIGIL, Service, running_service

PNG = bytes.fromhex("89504e470d0a1a0a")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service"), **files.environment) as started:
        yield started


def test_boto3_and_the_command_line_speak_https(service: Service, files: Files) -> None:
    wait_until(lambda: f"Vigil listens on https://127.0.0.1:{service.port}\n" in service.log(), 30, "the address")
    lookout = service.client()
    assert lookout.meta.endpoint_url == f"https://127.0.0.1:{service.port}"
    lookout.create_project(ProjectName="plates")
    assert "plates" in vigil("list", *where(service), **files.environment).stdout
    # A body that AWS's client might leave unsigned, now that the line is encrypted.
    with pytest.raises(lookout.exceptions.ResourceNotFoundException):
        lookout.detect_anomalies(ProjectName="plates", ModelVersion="1", Body=PNG, ContentType="image/png")


def test_env_is_all_that_a_client_needs(service: Service, files: Files) -> None:
    script = 'set -eu; eval "$("$0" env --data-dir "$1" --port "$2")"; unset VIGIL_TLS_CERTIFICATE VIGIL_TLS_KEY; '
    command = ["env", *(f"{name}={value}" for name, value in files.environment.items()), "sh", "-c"]
    command += [script + 'echo "$AWS_CA_BUNDLE"; "$0" list', VIGIL, str(service.data_dir), str(service.port)]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert printed.stdout.splitlines()[0] == str(files.certificate)


def test_no_other_certificate_is_trusted(service: Service, tmp_path: Path) -> None:
    other = certificate(tmp_path)
    refused = vigil("list", *where(service), **other.environment)
    assert refused.returncode == 1
    assert re.search(r"The certificate of https://127\.0\.0\.1:\d+ is not trusted", refused.stderr.replace("\n", " "))
    lookout = service.client(retries={"total_max_attempts": 1})
    lookout._endpoint.http_session._verify = str(other.certificate)  # the machine of somebody else
    with pytest.raises(botocore.exceptions.SSLError):
        lookout.list_projects()


def test_nothing_is_said_without_tls(service: Service) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{service.port}/healthz", timeout=10)


def test_doctor_checks_the_certificate(service: Service, files: Files, tmp_path: Path) -> None:
    shown = vigil("doctor", *where(service), COLUMNS="400", **files.environment)
    assert re.search(r"Certificate.*ok", shown.stdout)
    assert f"Vigil answers at https://127.0.0.1:{service.port}" in shown.stdout
    wrong = files.environment | {"VIGIL_TLS_CERTIFICATE": str(tmp_path / "nothing.pem")}
    shown = vigil("doctor", *where(service), COLUMNS="400", **wrong)
    assert (shown.returncode, bool(re.search(r"Certificate.*wrong.*cannot be read", shown.stdout))) == (1, True)


def test_a_certificate_of_the_plants_authority_for_another_name(tmp_path: Path) -> None:
    """The command line trusts the certificate itself; boto3 is pointed at the name, and asked to know the authority."""
    files = certificate(tmp_path / "tls", (x509.DNSName("vigil.plant.example"),), authority())
    expired = certificate(tmp_path / "old", begins=-9, ends=-1)
    data = str(tmp_path / "data")
    refused = vigil("up", "--data-dir", data, "--port", "1", **expired.environment)
    assert (refused.returncode, "has expired on" in refused.stderr) == (1, True)
    assert not (tmp_path / "data").exists()
    refused = vigil("up", "--data-dir", data, VIGIL_TLS_KEY=str(files.key))
    assert (refused.returncode, "belong together: set both, or none" in refused.stderr) == (1, True)
    with running_service(tmp_path, **files.environment) as service:
        printed = vigil("env", *where(service), **files.environment).stdout
        assert f"export AWS_ENDPOINT_URL_LOOKOUTVISION=https://vigil.plant.example:{service.port}\n" in printed
        assert "AWS_CA_BUNDLE" not in printed
        assert vigil("list", *where(service), **files.environment).returncode == 0
