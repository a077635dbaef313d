"""Requests byte for byte as a test writes them, signed by botocore unless the test says otherwise."""

import http.client
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from storage.access import AccessKey

API = "/2020-11-20"


@dataclass(frozen=True)
class Answer:
    """A response as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def error(self) -> str | None:
        """The name of the exception, where it is one."""
        return self.headers.get("x-amzn-errortype")

    def json(self) -> Any:
        return json.loads(self.body)


class Clock(SigV4Auth):
    """botocore's signer with a clock that is off."""

    def __init__(self, credentials: Credentials, service: str, region: str, off: timedelta) -> None:
        super().__init__(credentials, service, region)
        self._off = off

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = (datetime.now(UTC) + self._off).strftime("%Y%m%dT%H%M%SZ")
        super()._modify_request_before_signing(request)


class Raw:
    """Signs and sends."""

    def __init__(self, endpoint: str, key: AccessKey) -> None:
        self.endpoint, self.key = endpoint, key

    def sign(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        secret: str | None = None,
        id_: str | None = None,
        service: str = "lookoutvision",
        region: str = "us-east-1",
        off: timedelta = timedelta(0),
    ) -> dict[str, str]:
        """The headers that botocore's signer gives this request; Host is added when it is sent."""
        request = AWSRequest(method, self.endpoint + path, dict(headers or {}), body)
        Clock(Credentials(id_ or self.key.id, secret or self.key.secret), service, region, off).add_auth(request)
        return dict(request.headers.items())

    def send(self, method: str, path: str, body: bytes | Iterable[bytes], headers: Mapping[str, str]) -> Answer:
        """Send without signing. A body in pieces is sent chunked, without Content-Length."""
        parts = urlsplit(self.endpoint)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        try:
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def __call__(
        self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, **how: Any
    ) -> Answer:
        """Sign and send; `path` is below the version."""
        return self.send(method, API + path, body, self.sign(method, API + path, body, headers, **how))

    def json(self, method: str, path: str, content: Any) -> Answer:
        """Sign and send JSON."""
        return self(method, path, json.dumps(content).encode(), {"Content-Type": "application/json"})
