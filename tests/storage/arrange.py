"""What tests of storage begin with."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from storage.records import Model, ModelStatus, now
from storage.stores import Stores


def model(stores: Stores, project: str, status: ModelStatus = ModelStatus.TRAINED, **values: Any) -> Model:
    """A new version of a project's model, as it is read back."""
    version = stores.catalogue.next_version(project)
    stores.catalogue.create_model(Model(project, version, status, "arranged", now(), "out", **values), {})
    return stores.catalogue.model(project, version)


class _Abandoned(Exception):
    pass


@contextmanager
def abandoned(block: AbstractContextManager[Any]) -> Iterator[None]:
    """Runs within `block`, a transaction or a part of one, and leaves it by an exception."""
    try:
        with block:
            yield
            raise _Abandoned
    except _Abandoned:
        pass
