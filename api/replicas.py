"""HTTP client to the replicas: choose one, call it, and turn its failures into answers for the caller."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from io import BytesIO
from typing import Self

from aiohttp import ClientError, ClientSession, ClientTimeout, DummyCookieJar, TCPConnector
from starlette.concurrency import run_in_threadpool

from api.errors import ConflictException, InternalServerException, ThrottlingException, ValidationException
from storage.records import ModelStatus, Serving, Unit
from storage.replica_call import ANOMALOUS_HEADER, KEEP_ALIVE_SECONDS, TIMING_HEADER, Figures
from storage.stores import Stores

_POLL_SECONDS = 0.2
_CONNECT_SECONDS, _ANSWER_SECONDS, _FIGURES_SECONDS = 2.0, 60.0, 2.0
_REMEMBERED_SECONDS = 0.25


@dataclass(frozen=True)
class Answer:
    """A replica's answer: the body of DetectAnomalies, its decision, and its times as Server-Timing has them."""

    body: bytes
    is_anomalous: bool
    timing: str


@dataclass(frozen=True)
class Response:
    """What a replica said. The case of the headers' names does not matter."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def of_replica(self) -> bool:
        """Whether a replica said it, rather than a cluster that stands before it."""
        return self.headers.get("Content-Type", "").startswith("application/json")


class Replicas:
    """Spreads requests over the live replicas of a model: fewest requests in flight first.

    Within `async with` it asks replicas; its connections are kept until then, and those to idle replicas for a while.
    """

    _session: ClientSession

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._wait, self._most = stores.settings.replica_wait_seconds, stores.settings.replica_queue
        self._in_flight: Counter[str] = Counter()
        self._found: dict[tuple[str, int | None], tuple[float, Serving]] = {}

    async def __aenter__(self) -> Self:
        self._session = ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_SECONDS),
            cookie_jar=DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
            auto_decompress=False,
            trust_env=False,  # a proxy of the environment is for the internet
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def find(self, project: str, version: int | None) -> Serving:
        """The model version that is meant, None the newest, and its replicas. Raises Missing.

        One that serves is remembered for a moment, so that a stream of images asks the catalogue a few times a second.
        """
        asked, name = time.monotonic(), (project, version)
        found, serving = self._found.get(name, (-_REMEMBERED_SECONDS, None))
        if serving is not None and asked - found < _REMEMBERED_SECONDS:
            return serving
        return await self._find_anew(project, version)

    async def _find_anew(self, project: str, version: int | None) -> Serving:
        asked, name = time.monotonic(), (project, version)
        self._found.pop(name, None)
        serving = await run_in_threadpool(self._stores.hosting.serving, project, version)
        if serving.status == ModelStatus.HOSTED and serving.replicas:
            fresh = {key: entry for key, entry in self._found.items() if asked - entry[0] < _REMEMBERED_SECONDS}
            self._found = {**fresh, name: (asked, serving)}
        return serving

    async def detect(self, serving: Serving, image: bytes, headers: dict[str, str]) -> Answer:
        """A replica's answer. Detection changes nothing, so a replica that dies is replaced by the next.

        Raises ConflictException for a model that is not hosted, ValidationException for an image that it cannot take,
        ThrottlingException when all replicas are full, and InternalServerException when none is there in time.
        """
        deadline = time.monotonic() + self._wait
        name = f"{serving.project}/{serving.version}"
        while True:
            _must_be_hosted(serving)
            answer = await self._ask(serving, image, headers)
            if answer is not None:
                return answer
            if time.monotonic() > deadline:
                raise InternalServerException(
                    f"no inference unit of {name} is running at the moment; the inference host is starting one, "
                    "or its log says why it cannot",
                    retry_after=2,
                )
            await asyncio.sleep(_POLL_SECONDS)
            serving = await self._find_anew(serving.project, serving.version)

    async def figures(self, unit: Unit) -> Figures | None:
        """How the unit's replica is, or None where it does not tell in time."""
        response = await self._request("GET", f"http://{unit.address}/{unit.replica}/health", _FIGURES_SECONDS)
        if response is None or response.status != HTTPStatus.OK:
            return None
        try:
            figures: Figures = json.loads(response.body)
        except ValueError:
            return None
        return figures

    async def _ask(self, serving: Serving, image: bytes, headers: dict[str, str]) -> Answer | None:
        """Ask one replica after the other until one answers. → None where none is there"""
        name, full = f"{serving.project}/{serving.version}", False
        # Units on a cluster have one address together.
        units = Counter(serving.replicas)
        for replica, address in sorted(units, key=lambda one: self._in_flight[one[0]] / units[one]):
            # It would refuse: an image need not travel to be told so.
            if self._in_flight[replica] >= self._most * units[replica, address]:
                full = True
                continue
            response = await self._call(replica, address, image, headers)
            if response is None or response.status == HTTPStatus.MISDIRECTED_REQUEST:
                continue
            if response.status == HTTPStatus.OK:
                is_anomalous = response.headers.get(ANOMALOUS_HEADER) == "true"
                return Answer(response.body, is_anomalous, response.headers.get(TIMING_HEADER, ""))
            if response.status == HTTPStatus.UNPROCESSABLE_ENTITY:
                raise ValidationException(json.loads(response.body)["message"])
            if response.status == HTTPStatus.INTERNAL_SERVER_ERROR and not response.of_replica:
                continue  # a cluster's: the replica that had the image is gone
            if response.status != HTTPStatus.SERVICE_UNAVAILABLE:
                raise InternalServerException(
                    f"a replica of {name} failed; the log of the inference host says why", retry_after=1
                )
            full = True
        if full:
            raise ThrottlingException(
                f"all inference units of {name} are busy; send fewer images at once, or start the model with more units"
            )
        return None

    async def _call(self, replica: str, address: str, image: bytes, headers: dict[str, str]) -> Response | None:
        self._in_flight[replica] += 1
        try:
            return await self._request("POST", f"http://{address}/{replica}/detect", _ANSWER_SECONDS, image, headers)
        finally:
            self._in_flight[replica] -= 1
            if not self._in_flight[replica]:
                del self._in_flight[replica]

    async def _request(
        self,
        method: str,
        url: str,
        seconds: float,
        image: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response | None:
        """The answer to a request. One that is cancelled ends its connection.

        → None where none comes: nobody listens, the connection ends, or what comes is no answer of a replica
        """
        try:
            async with self._session.request(
                method,
                url,
                data=image and BytesIO(image),  # sent in pieces; of large bytes aiohttp warns
                headers=headers,
                allow_redirects=False,
                timeout=ClientTimeout(total=seconds, connect=_CONNECT_SECONDS),
            ) as response:
                if response.content_length is None:  # nothing would tell one that is cut off
                    return None
                return Response(response.status, response.headers, await response.read())
        except (ClientError, TimeoutError):
            return None


def _must_be_hosted(serving: Serving) -> None:
    if serving.status not in (ModelStatus.HOSTED, ModelStatus.SYSTEM_UPDATING):
        raise ConflictException(
            f"version {serving.version} of the model in project '{serving.project}' is {serving.status}; "
            "start it and wait until it is HOSTED",
            ResourceId=f"{serving.project}/{serving.version}",
            ResourceType="MODEL",
        )
