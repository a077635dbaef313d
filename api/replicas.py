"""HTTP client to the replicas: choose one, call it, and turn its failures into answers for the caller."""

import asyncio
import time
from collections import Counter

import httpx
from starlette.concurrency import run_in_threadpool

from api.errors import ConflictException, InternalServerException, ThrottlingException, ValidationException
from storage.records import ModelStatus
from storage.stores import Stores

_POLL_SECONDS = 0.2
_TIMEOUT = httpx.Timeout(60, connect=2)


class Replicas:
    """Spreads requests over the live replicas of a model: fewest requests in flight first."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._wait = stores.settings.replica_wait_seconds
        self._in_flight: Counter[str] = Counter()
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, limits=httpx.Limits(max_connections=None), trust_env=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def detect(self, project: str, version: int, image: bytes, headers: dict[str, str]) -> bytes:
        """The body of a replica's answer. Detection changes nothing, so a replica that dies is replaced by the next.

        Raises ConflictException for a model that is not hosted, ValidationException for an image that it cannot take,
        ThrottlingException when all replicas are full, and InternalServerException when none is there in time.
        """
        deadline = time.monotonic() + self._wait
        while True:
            full = False
            for replica, address in await self._candidates(project, version):
                response = await self._call(replica, address, image, headers)
                if response is None or response.status_code == httpx.codes.MISDIRECTED_REQUEST:
                    continue
                if response.status_code == httpx.codes.OK:
                    return response.content
                if response.status_code == httpx.codes.UNPROCESSABLE_ENTITY:
                    raise ValidationException(response.json()["message"])
                if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                    raise InternalServerException(
                        f"a replica of {project}/{version} failed; the log of the inference host says why",
                        retry_after=1,
                    )
                full = True
            if full:
                raise ThrottlingException(
                    f"all inference units of {project}/{version} are busy; send fewer images at once, "
                    "or start the model with more units"
                )
            if time.monotonic() > deadline:
                raise InternalServerException(
                    f"no inference unit of {project}/{version} is running at the moment; the inference host is "
                    "starting one, or its log says why it cannot",
                    retry_after=2,
                )
            await asyncio.sleep(_POLL_SECONDS)

    async def _candidates(self, project: str, version: int) -> list[tuple[str, str]]:
        found = await run_in_threadpool(self._look_up, project, version)
        return sorted(found, key=lambda candidate: self._in_flight[candidate[0]])

    def _look_up(self, project: str, version: int) -> list[tuple[str, str]]:
        model = self._stores.catalogue.model(project, version)
        if model.status not in (ModelStatus.HOSTED, ModelStatus.SYSTEM_UPDATING):
            raise ConflictException(
                f"version {version} of the model in project '{project}' is {model.status}; "
                "start it and wait until it is HOSTED",
                ResourceId=f"{project}/{version}",
                ResourceType="MODEL",
            )
        return self._stores.hosting.addresses(project, version)

    async def _call(self, replica: str, address: str, image: bytes, headers: dict[str, str]) -> httpx.Response | None:
        self._in_flight[replica] += 1
        try:
            return await self._client.post(f"http://{address}/{replica}/detect", content=image, headers=headers)
        except httpx.TransportError:
            return None
        finally:
            self._in_flight[replica] -= 1
            if not self._in_flight[replica]:
                del self._in_flight[replica]
