import shutil
from typing import Any

import pytest
import sqlalchemy as sa

from tests.api.raw import Raw


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_the_health_checks_need_no_signature(raw: Raw, path: str) -> None:
    answer = raw.send("GET", path, b"", {})
    assert answer.status == 200
    assert answer.json()["status"] in ("ok", "ready")


def test_not_ready_without_its_catalogue(fresh: Any) -> None:
    service = fresh()
    assert service.raw.send("GET", "/readyz", b"", {}).status == 200
    with service.stores.database.transaction() as connection:
        connection.execute(sa.text("ALTER TABLE project RENAME TO elsewhere"))
    answer = service.raw.send("GET", "/readyz", b"", {})
    assert (answer.status, answer.json()["status"]) == (503, "not ready")
    assert "catalogue" in answer.json()["reason"]
    assert "SELECT" not in answer.body.decode()
    assert service.raw.send("GET", "/healthz", b"", {}).status == 200


def test_not_ready_without_its_object_store(fresh: Any) -> None:
    service = fresh()
    root = service.settings.objects_dir
    shutil.rmtree(root, ignore_errors=True)
    root.write_bytes(b"a file where the folder should be")
    answer = service.raw.send("GET", "/readyz", b"", {})
    assert answer.status == 503
    assert "object store" in answer.json()["reason"]
    root.unlink()
    assert service.raw.send("GET", "/readyz", b"", {}).status == 200
