"""A whole service with default settings for each module, and AWS's client of it."""

from collections.abc import Iterator
from typing import Any

import pytest

from storage.settings import Settings
from tests.service import Service, running_service


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    default = str(Settings.model_fields["selection_spending"].default)
    with running_service(tmp_path_factory.mktemp("service"), VIGIL_SELECTION_SPENDING=default) as started:
        yield started


@pytest.fixture(scope="module")
def lookout(service: Service) -> Any:
    return service.client()
