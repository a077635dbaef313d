"""Where the service of some settings answers on this machine, and whom a client may trust there."""

import os
import ssl
from dataclasses import dataclass
from typing import Self

from api import tls
from storage.settings import Settings

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Address:
    """A base URL, and for https what its certificate is checked against."""

    url: str
    trust: ssl.SSLContext | bool = True

    @classmethod
    def local(cls, settings: Settings) -> Self:
        """The service on this machine, which must show the certificate of its settings."""
        certificate = tls.certificate(settings)
        if certificate is None:
            return cls(tls.url(HOST, settings.port, secure=False))
        return cls(tls.url(HOST, settings.port, secure=True), certificate.trust())

    @classmethod
    def elsewhere(cls, url: str) -> Self:
        """A service that AWS's own variables name: trusted is what AWS_CA_BUNDLE or the machine trusts."""
        secure = url.lower().startswith("https:")
        bundle = os.environ.get("AWS_CA_BUNDLE") or None
        return cls(url.rstrip("/"), ssl.create_default_context(cafile=bundle) if secure else True)
