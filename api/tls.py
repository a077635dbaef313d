"""The certificate that the API shows where VIGIL_TLS_CERTIFICATE and VIGIL_TLS_KEY name one."""

import platform
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from storage.settings import Settings

_HERE = ("127.0.0.1", "localhost")


class CertificateError(Exception):
    """The certificate or its key cannot be used; the message names the file and says why."""


@dataclass(frozen=True)
class Certificate:
    """A certificate file: the service's own certificate, then those that vouch for it."""

    path: Path
    chain: tuple[x509.Certificate, ...]

    @property
    def self_signed(self) -> bool:
        """Whether the file holds the root that clients have to trust."""
        return self.chain[-1].issuer == self.chain[-1].subject

    @property
    def host(self) -> str:
        """The name under which this machine's clients reach the service: the loopback's where it is certified."""
        names = self.names()
        return next((name for name in _HERE if name in names), names[0]).replace("*", platform.node().partition(".")[0])

    def names(self) -> list[str]:
        """Names and addresses that are certified. Raises CertificateError where there are none."""
        try:
            extension = self.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName)
        except x509.ExtensionNotFound:
            raise self._refused("names no host; make one with a subjectAltName, such as IP:127.0.0.1") from None
        addresses = [str(address) for address in extension.value.get_values_for_type(x509.IPAddress)]
        names = extension.value.get_values_for_type(x509.DNSName) + addresses
        if not names:
            raise self._refused("names no host in its subjectAltName")
        return names

    def trust(self) -> ssl.SSLContext:
        """Trust in this very certificate and no other, whatever host it names: for clients on the service's machine."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.load_verify_locations(cadata=self.chain[0].public_bytes(Encoding.PEM).decode())
        return context

    def check(self, key: Path) -> None:
        """Raises CertificateError where a server cannot show this certificate now with the key in this file."""
        try:
            private = load_pem_private_key(_read("VIGIL_TLS_KEY", key), None)
        except TypeError:
            raise CertificateError(f"VIGIL_TLS_KEY: {key} is encrypted; give a key without a passphrase") from None
        except (ValueError, UnsupportedAlgorithm):
            raise CertificateError(f"VIGIL_TLS_KEY: {key} holds no private key in PEM form") from None
        own = self.chain[0]
        if private.public_key() != own.public_key():
            raise self._refused(f"does not belong to the key in {key}; the service's own certificate comes first")
        if own.not_valid_after_utc < datetime.now(UTC):
            raise self._refused(f"has expired on {own.not_valid_after_utc:%Y-%m-%d %H:%M} UTC; renew it")
        if own.not_valid_before_utc > datetime.now(UTC):
            raise self._refused(
                f"is valid from {own.not_valid_before_utc:%Y-%m-%d %H:%M} UTC only; is this machine's clock right?"
            )
        self.names()
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self.path, key)
        except ssl.SSLError as error:
            raise self._refused(f"cannot be used: {error.reason or error}") from None

    def _refused(self, why: str) -> CertificateError:
        return CertificateError(f"VIGIL_TLS_CERTIFICATE: the certificate in {self.path} {why}")


def certificate(settings: Settings) -> Certificate | None:
    """The certificate of these settings, if any. Raises CertificateError where its file cannot be read."""
    path = settings.tls_certificate
    if path is None:
        return None
    content = _read("VIGIL_TLS_CERTIFICATE", path)
    try:
        return Certificate(path.absolute(), tuple(x509.load_pem_x509_certificates(content)))
    except ValueError:
        raise CertificateError(f"VIGIL_TLS_CERTIFICATE: {path} holds no certificate in PEM form") from None


def check(settings: Settings) -> None:
    """Raises CertificateError where these settings name a certificate or a key that cannot be used."""
    found = certificate(settings)
    if found is not None and settings.tls_key is not None:
        found.check(settings.tls_key)


def url(host: str, port: int, *, secure: bool) -> str:
    """The address of a service."""
    return f"{'https' if secure else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{setting}: {path} cannot be read: {error.strerror}") from None
