"""Certificates as a plant's IT makes them: self-signed, or by an authority of its own."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = (x509.IPAddress(IPv4Address("127.0.0.1")),)


@dataclass(frozen=True)
class Files:
    """Where a certificate and its key lie."""

    certificate: Path
    key: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"VIGIL_TLS_CERTIFICATE": str(self.certificate), "VIGIL_TLS_KEY": str(self.key)}


@dataclass(frozen=True)
class Authority:
    """Who signs."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def write(self, folder: Path) -> Path:
        file = folder / "authority.pem"
        file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))
        return file


def authority() -> Authority:
    """A plant's own certificate authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("the plant's authority", key, 0, 30)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    builder = builder.add_extension(_may(sign_certificates=True), critical=True)
    return Authority(builder.sign(key, hashes.SHA256()), key)


def certificate(
    folder: Path,
    names: tuple[x509.GeneralName, ...] = LOOPBACK,
    by: Authority | None = None,
    *,
    begins: float = -1,
    ends: float = 30,
    password: bytes | None = None,
) -> Files:
    """A certificate for these names, valid between two days counted from now; self-signed without an authority."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder("vigil", key, begins, ends, by.certificate.subject if by else None)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_may(sign_certificates=False), critical=True)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signer = by.key if by else key
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    made = builder.add_extension(identifier, critical=False).sign(signer, hashes.SHA256())
    files = Files(folder / "certificate.pem", folder / "key.pem")
    files.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    sealed = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    files.key.write_bytes(key.private_bytes(pem, form, sealed))
    return files


def _builder(
    name: str, key: ec.EllipticCurvePrivateKey, begins: float, ends: float, issuer: x509.Name | None = None
) -> x509.CertificateBuilder:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    return (
        x509.CertificateBuilder(issuer_name=issuer or subject)
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.now(UTC) + timedelta(days=begins))
        .not_valid_after(datetime.now(UTC) + timedelta(days=ends))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _may(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
