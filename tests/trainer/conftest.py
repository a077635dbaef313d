from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.trainer.plant import Plant


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    opened = Plant(tmp_path / "data")
    yield opened
    opened.stores.database.close()
