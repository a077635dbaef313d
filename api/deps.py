"""What operations are handed, and the model version that a caller means."""

from typing import Annotated

from fastapi import Depends, Request

from api.replicas import Replicas
from storage.records import Model
from storage.stores import Stores


async def _stores(request: Request) -> Stores:
    stores: Stores = request.app.state.stores
    return stores


async def _replicas(request: Request) -> Replicas:
    replicas: Replicas = request.app.state.replicas
    return replicas


StoresDep = Annotated[Stores, Depends(_stores)]
ReplicasDep = Annotated[Replicas, Depends(_replicas)]


def find_model(project: str, version: str, stores: Stores) -> Model:
    """The model version that a caller names by number or as latest."""
    return stores.catalogue.model(project, None if version == "latest" else int(version))
