"""What operations are handed (the body as it came is a Stream), and the model version that a caller means."""

from typing import Annotated
from urllib.parse import unquote

from fastapi import Depends, Request

from api.auth import Caller
from api.detections import Detections
from api.replicas import Replicas
from storage.records import Arns, Model
from storage.stores import Stores


async def _stores(request: Request) -> Stores:
    stores: Stores = request.app.state.stores
    return stores


async def _body(request: Request) -> bytes:
    body: bytes = (await request.receive())["body"]  # all of it, as Authentication hands it on; body() would copy it
    return body


async def _replicas(request: Request) -> Replicas:
    replicas: Replicas = request.app.state.replicas
    return replicas


async def _detections(request: Request) -> Detections:
    detections: Detections = request.app.state.detections
    return detections


async def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


StoresDep = Annotated[Stores, Depends(_stores)]
Stream = Annotated[bytes, Depends(_body)]
ReplicasDep = Annotated[Replicas, Depends(_replicas)]
DetectionsDep = Annotated[Detections, Depends(_detections)]
CallerDep = Annotated[Caller, Depends(_caller)]


def find_model(project: str, version: str, stores: Stores) -> Model:
    """The model version that a caller names by number or as latest."""
    return stores.catalogue.model(project, number(version))


def number(version: str) -> int | None:
    """The number of a version that a caller names, None for the newest."""
    return None if version == "latest" else int(version)


def model_of(resource_arn: str, arns: Arns) -> tuple[str, int] | None:
    """(project, version) of the model whose ARN a path holds, percent-encoded or not; None where it names no model."""
    return arns.parse_model(unquote(resource_arn))
