"""A small client of the service: the operations that the commands need, signed as any AWS client signs them."""

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

import httpx

from api.cli.address import Address
from api.cli.keys import first_key
from api.cli.terminal import CommandError
from api.signature import sign
from storage.access import AccessKey
from storage.records import Role
from storage.replica_call import EXPLAIN_HEADER
from storage.settings import Settings

_VERSION = "/2020-11-20"
_SECONDS = 60.0  # longer than DetectAnomalies waits for a replica that is coming back


class ServiceRefusal(CommandError):
    """The service refused a call. `kind` is AWS's name of the exception."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class DatasetState:
    """What DescribeDataset tells."""

    type: str
    status: str
    message: str
    total: int
    labeled: int
    normal: int
    anomaly: int


@dataclass(frozen=True)
class ModelState:
    """What DescribeModel tells. `performance` holds F1Score, Precision and Recall once the model is trained."""

    version: str
    status: str
    message: str
    description: str | None
    performance: Mapping[str, float] | None
    units: int | None


@dataclass(frozen=True)
class Detection:
    """One DetectAnomalyResult, and the explanations that were asked for.

    `anomaly_map` is a grey PNG in which 128 is the threshold; `regions` are those of the service's Explanation.
    """

    is_anomalous: bool
    confidence: float
    result: Mapping[str, Any]
    anomaly_map: bytes | None = None
    regions: Sequence[Mapping[str, Any]] | None = None

    @property
    def areas(self) -> list[tuple[str, float]]:
        """The labels found in the image, each with its part of the area, from 0 to 1."""
        areas = [(a["Name"], a["PixelAnomaly"]["TotalPercentageArea"]) for a in self.result.get("Anomalies", ())]
        return [(name, area) for name, area in areas if name != "background" and area > 0]

    @property
    def found(self) -> str:
        """The same in words."""
        return ", ".join(f"{name} {area:.1%}" for name, area in self.areas)


class Client:
    """Calls the service at an address with an access key. Raises ServiceRefusal, and CommandError without an answer."""

    def __init__(self, address: Address, key: AccessKey, region: str) -> None:
        self.endpoint, self.key, self._region = address.url, key, region
        # A proxy of the environment is for the internet; the service is on this machine.
        self._http = httpx.Client(timeout=_SECONDS, trust_env=False, verify=address.trust)

    @classmethod
    def for_settings(cls, settings: Settings, *, environment: bool = True) -> Self:
        """The service of these settings, or with `environment` the one that AWS's own variables point to."""
        endpoint = os.environ.get("AWS_ENDPOINT_URL_LOOKOUTVISION") if environment else None
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        id_, secret = (os.environ.get(name) for name in names)
        # Keys of the environment belong to its endpoint: without one they are keys of AWS itself.
        key = AccessKey(id_, secret, Role.ADMIN) if endpoint and id_ and secret else first_key(settings)
        return cls(Address.elsewhere(endpoint) if endpoint else Address.local(settings), key, settings.region)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._http.close()

    @property
    def port(self) -> int | None:
        """The port of the service, where its address names one."""
        return urlsplit(self.endpoint).port

    def projects(self) -> list[str]:
        """Names of all projects."""
        return [item["ProjectName"] for item in self._pages("/projects", "Projects")]

    def create_project(self, project: str) -> None:
        """Make a project."""
        self._call("POST", "/projects", {"ProjectName": project})

    def delete_project(self, project: str) -> None:
        """Remove a project that is empty."""
        self._call("DELETE", f"/projects/{_part(project)}")

    def datasets(self, project: str) -> list[DatasetState]:
        """The data sets of a project."""
        answer = self._call("GET", f"/projects/{_part(project)}")
        return [self.dataset(project, item["DatasetType"]) for item in answer["ProjectDescription"]["Datasets"]]

    def dataset(self, project: str, type_: str) -> DatasetState:
        """One data set."""
        answer = self._call("GET", f"/projects/{_part(project)}/datasets/{_part(type_)}")["DatasetDescription"]
        counts = [answer["ImageStats"][name] for name in ("Total", "Labeled", "Normal", "Anomaly")]
        return DatasetState(type_, answer["Status"], answer["StatusMessage"], *counts)

    def create_dataset(self, project: str, type_: str) -> None:
        """Make an empty data set."""
        self._call("POST", f"/projects/{_part(project)}/datasets", {"DatasetType": type_})

    def delete_dataset(self, project: str, type_: str) -> None:
        """Remove a data set with its entries; the images stay."""
        self._call("DELETE", f"/projects/{_part(project)}/datasets/{_part(type_)}")

    def update_entries(self, project: str, type_: str, changes: bytes) -> None:
        """Start to add or change entries: JSON Lines in AWS's form."""
        body = {"Changes": base64.b64encode(changes).decode()}
        self._call("PATCH", f"/projects/{_part(project)}/datasets/{_part(type_)}/entries", body)

    def models(self, project: str) -> list[ModelState]:
        """The model versions of a project, newest first."""
        return [_model(item) for item in self._pages(f"/projects/{_part(project)}/models", "Models")]

    def model(self, project: str, version: str) -> ModelState:
        """One model version; `latest` is the newest."""
        return _model(self._call("GET", _model_path(project, version))["ModelDescription"])

    def create_model(
        self, project: str, bucket: str, prefix: str, tags: Mapping[str, str], description: str | None
    ) -> str:
        """Start a training. → the model's version"""
        body: dict[str, Any] = {"OutputConfig": {"S3Location": {"Bucket": bucket, "Prefix": prefix}}}
        body["Tags"] = [{"Key": key, "Value": value} for key, value in tags.items()]
        if description is not None:
            body["Description"] = description
        answer = self._call("POST", f"/projects/{_part(project)}/models", body)
        return str(answer["ModelMetadata"]["ModelVersion"])

    def start_model(self, project: str, version: str, units: int, most: int | None = None) -> None:
        """Start to host a model on this many inference units; with `most`, on up to so many under load."""
        body = {"MinInferenceUnits": units} | ({} if most is None else {"MaxInferenceUnits": most})
        self._call("POST", f"{_model_path(project, version)}/start", body)

    def stop_model(self, project: str, version: str) -> None:
        """Stop to host a model."""
        self._call("POST", f"{_model_path(project, version)}/stop")

    def delete_model(self, project: str, version: str) -> None:
        """Start to remove a model version."""
        self._call("DELETE", _model_path(project, version))

    def detect(
        self, project: str, version: str, image: bytes, content_type: str, explain: Sequence[str] = ()
    ) -> Detection:
        """Look for anomalies in one image; `explain` holds words of EXPLAIN_HEADER for what is to come back too."""
        headers = {"content-type": content_type} | ({EXPLAIN_HEADER.lower(): ",".join(explain)} if explain else {})
        answer = self._send("POST", f"{_model_path(project, version)}/detect", "", headers, image)
        result, explanation = answer["DetectAnomalyResult"], answer.get("Explanation", {})
        encoded = explanation.get("AnomalyMap")
        anomaly_map = None if encoded is None else base64.b64decode(encoded)
        return Detection(result["IsAnomalous"], result["Confidence"], result, anomaly_map, explanation.get("Regions"))

    def _pages(self, path: str, member: str) -> Iterator[dict[str, Any]]:
        query = ""
        while True:
            answer = self._send("GET", path, query, {}, b"")
            yield from answer[member]
            if not answer.get("NextToken"):
                return
            query = urlencode({"nextToken": answer["NextToken"]}, quote_via=quote, safe="")

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        headers = {} if body is None else {"content-type": "application/json"}
        return self._send(method, path, "", headers, b"" if body is None else json.dumps(body).encode())

    def _send(self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        base = httpx.URL(self.endpoint)
        path = f"{base.path.rstrip('/')}{_VERSION}{path}"
        url = base.copy_with(raw_path=f"{path}?{query}".encode() if query else path.encode())
        key = (self.key.id, self.key.secret)
        signed = sign(method, base.netloc.decode(), path, query, headers, body, key, self._region)
        try:
            response = self._http.request(method, url, headers=signed, content=body)
        except httpx.ConnectError as error:
            if "[SSL" in str(error):
                raise CommandError(f"The certificate of {self.endpoint} is not trusted: {error}") from None
            raise CommandError(f"Vigil does not answer at {self.endpoint}; start it with `vigil up`.") from None
        except httpx.HTTPError as error:
            reason = str(error) or type(error).__name__
            raise CommandError(f"Vigil at {self.endpoint} gave no answer to {method} {path}: {reason}") from None
        return _answer(response)


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        content = response.json() if response.content else {}
    except ValueError:
        content = {}
    if not isinstance(content, dict) or response.is_redirect:
        content = {}
    if response.is_success:
        return content
    kind = response.headers.get("x-amzn-ErrorType", f"HTTP {response.status_code}").partition(":")[0]
    message = content.get("Message") or content.get("message") or response.text[:300] or "no reason was given"
    raise ServiceRefusal(kind, f"{message} ({kind})")


def _model(item: Mapping[str, Any]) -> ModelState:
    return ModelState(
        item["ModelVersion"],
        item["Status"],
        item["StatusMessage"],
        item.get("Description"),
        item.get("Performance"),
        item.get("MinInferenceUnits"),
    )


def _model_path(project: str, version: str) -> str:
    return f"/projects/{_part(project)}/models/{_part(version)}"


def _part(name: str) -> str:
    return quote(name, safe="")
