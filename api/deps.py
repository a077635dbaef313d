"""What operations are handed."""

from typing import Annotated

from fastapi import Depends, Request

from api.replicas import Replicas
from storage.stores import Stores


async def _stores(request: Request) -> Stores:
    stores: Stores = request.app.state.stores
    return stores


async def _replicas(request: Request) -> Replicas:
    replicas: Replicas = request.app.state.replicas
    return replicas


StoresDep = Annotated[Stores, Depends(_stores)]
ReplicasDep = Annotated[Replicas, Depends(_replicas)]
