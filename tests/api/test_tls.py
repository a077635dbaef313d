"""Certificates that cannot be used are refused when the API starts, by name and reason, before anybody connects."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509

from api import tls
from storage.settings import Settings
from tests.certificates import Files, authority, certificate


def settings_of(files: Files) -> Settings:
    return Settings(tls_certificate=files.certificate, tls_key=files.key)


def missing(folder: Path) -> Files:
    return Files(certificate(folder).certificate, folder / "nothing.pem")


def missing_certificate(folder: Path) -> Files:
    return Files(folder, certificate(folder).key)


def mismatched(folder: Path) -> Files:
    return Files(certificate(folder / "a").certificate, certificate(folder / "b").key)


def exchanged(folder: Path) -> Files:
    files = certificate(folder)
    return Files(files.key, files.certificate)


def no_key(folder: Path) -> Files:
    files = certificate(folder)
    return Files(files.certificate, files.certificate)


def no_dns_name(folder: Path) -> Files:
    return certificate(folder, (x509.RFC822Name("it@plant.example"),))


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (missing, r"VIGIL_TLS_KEY: .*nothing\.pem cannot be read: No such file"),
        (missing_certificate, r"VIGIL_TLS_CERTIFICATE: .* cannot be read: Is a directory"),
        (mismatched, r"does not belong to the key in .*b/key\.pem"),
        (exchanged, r"VIGIL_TLS_CERTIFICATE: .*key\.pem holds no certificate in PEM form"),
        (no_key, r"VIGIL_TLS_KEY: .*certificate\.pem holds no private key in PEM form"),
        (lambda folder: certificate(folder, begins=-9, ends=-1), r"certificate\.pem has expired on 20\d\d-.*renew it"),
        (lambda folder: certificate(folder, begins=2), r"is valid from 20\d\d-.* only; is this machine's clock right"),
        (lambda folder: certificate(folder, password=b"secret"), r"VIGIL_TLS_KEY: .*is encrypted; give a key without"),
        (lambda folder: certificate(folder, ()), r"names no host; make one with a subjectAltName"),
        (no_dns_name, r"names no host in its subjectAltName"),
    ],
)
def test_what_cannot_be_used_is_refused_and_named(tmp_path: Path, make: Callable[[Path], Files], why: str) -> None:
    with pytest.raises(tls.CertificateError, match=why):
        tls.check(settings_of(make(tmp_path)))


def test_the_process_ends_with_the_reason(tmp_path: Path) -> None:
    environment = {**os.environ, **mismatched(tmp_path).environment, "VIGIL_DATA_DIR": str(tmp_path / "data")}
    command = [sys.executable, "-m", "api.main"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode == 1
    assert "VIGIL_TLS_CERTIFICATE: the certificate in" in ended.stderr
    assert "Traceback" not in ended.stderr


def dns(*names: str) -> tuple[x509.GeneralName, ...]:
    return tuple(x509.DNSName(name) for name in names)


@pytest.mark.parametrize(
    ("names", "host"),
    [
        (dns("vigil.plant.example", "localhost"), "localhost"),
        (dns("vigil.plant.example", "vigil"), "vigil.plant.example"),
    ],
)
def test_clients_are_pointed_at_a_name_that_is_certified(
    tmp_path: Path, names: tuple[x509.GeneralName, ...], host: str
) -> None:
    found = tls.certificate(settings_of(certificate(tmp_path, names)))
    assert found is not None
    assert (found.host, found.self_signed) == (host, True)


def test_a_certificate_of_an_authority_is_not_its_own_root(tmp_path: Path) -> None:
    root = authority()
    files = certificate(tmp_path, by=root)
    tls.check(settings_of(files))
    found = tls.certificate(settings_of(files))
    assert found is not None
    assert not found.self_signed
    files.certificate.write_bytes(files.certificate.read_bytes() + root.write(tmp_path).read_bytes())
    whole = tls.certificate(settings_of(files))
    assert whole is not None
    assert whole.self_signed
    tls.check(settings_of(files))
