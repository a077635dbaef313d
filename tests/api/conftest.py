"""One API server for all tests of this folder, each with a project of its own; `fresh` gives a server to itself."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from storage.access import AccessKey
from storage.settings import Settings
from storage.stores import Stores, open_stores
from tests.api.raw import Raw
from tests.api.replica_server import Behaviour, Server, running
from tests.conftest import client, serving


@pytest.fixture(scope="package")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    # The tests share the quota of trainings: those about it have a server of their own.
    return Settings(data_dir=tmp_path_factory.mktemp("api") / "data", max_concurrent_trainings=1000)


@pytest.fixture(scope="package")
def stores(settings: Settings) -> Iterator[Stores]:
    opened = open_stores(settings)
    yield opened
    opened.database.close()


@pytest.fixture(scope="package")
def key(stores: Stores) -> AccessKey:
    return stores.keys.create()


@pytest.fixture(scope="package")
def endpoint(settings: Settings, stores: Stores) -> Iterator[str]:
    with serving(settings, stores) as address:
        yield address


@pytest.fixture(scope="package")
def lookout(endpoint: str, key: AccessKey) -> Any:
    """AWS's own client."""
    return client(endpoint, key)


@pytest.fixture
def raw(endpoint: str, key: AccessKey) -> Raw:
    """What AWS's client would not send."""
    return Raw(endpoint, key)


@pytest.fixture
def project(lookout: Any) -> str:
    """A new project without data sets."""
    name = f"p-{uuid.uuid4().hex[:12]}"
    lookout.create_project(ProjectName=name)
    return name


@pytest.fixture
def replica() -> Iterator[Callable[[Behaviour], Server]]:
    """Starts replicas."""
    with ExitStack() as stack:
        yield lambda behaviour: stack.enter_context(running(behaviour))


class Fresh:
    """A server of one test's own."""

    def __init__(self, settings: Settings, stores: Stores, endpoint: str) -> None:
        self.settings, self.stores, self.endpoint = settings, stores, endpoint
        self.key = stores.keys.create()
        self.lookout = client(endpoint, self.key)
        self.raw = Raw(endpoint, self.key)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Callable[..., Fresh]]:
    """Starts a server on an empty data directory; takes settings by name."""
    with ExitStack() as stack:

        def start(**values: Any) -> Fresh:
            settings = Settings(data_dir=tmp_path / "data", **values)
            stores = open_stores(settings)
            stack.callback(stores.database.close)
            return Fresh(settings, stores, stack.enter_context(serving(settings, stores)))

        yield start
