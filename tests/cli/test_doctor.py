"""`vigil doctor`: what it finds, and its exit code."""

import http.server
import socket
import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli import terminal
from api.cli.doctor import Level, examine
from api.cli.main import app
from storage.settings import Settings
from storage.stores import Stores


@pytest.fixture(scope="module")
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """No message is wrapped, whatever terminal the tests run in."""
    monkeypatch.setattr(terminal.out, "width", 250)


def doctor(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def levels(settings: Settings) -> dict[str, Level]:
    return {finding.what: finding.level for finding in examine(settings)}


def test_a_machine_before_the_first_start(tmp_path: Path, port: int) -> None:
    code, out = doctor("--data-dir", str(tmp_path / "none"), "--port", str(port))
    assert code == 0, out
    rows = ("Python", "Packages", "torch", "GPU", "Weights", "Data directory", "Disk", "Catalogue", "Object store")
    for row in (*rows, "Port"):
        assert row in out
    assert not (tmp_path / "none").exists()


def test_a_service_that_runs(endpoint: str, settings: Settings, stores: Stores) -> None:
    stores.catalogue.create_project("lids")
    code, out = doctor("--data-dir", str(settings.data_dir), "--port", endpoint.rpartition(":")[2])
    assert code == 0, out
    assert "Vigil answers at" in out
    assert "projects: 1" in out


def test_a_port_of_another_program_is_wrong(tmp_path: Path) -> None:
    server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        code, out = doctor("--data-dir", str(tmp_path), "--port", str(server.server_port))
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert code == 1
    assert "is taken by another program" in out
    assert "--port" in out


def test_a_data_directory_below_a_file_is_wrong(tmp_path: Path, port: int) -> None:
    (tmp_path / "file").write_text("x")
    found = levels(Settings(data_dir=tmp_path / "file" / "data", port=port))
    assert found["Data directory"] is Level.WRONG
    assert found["Python"] is Level.OK


def test_a_catalogue_that_does_not_open_is_wrong(tmp_path: Path, port: int) -> None:
    (tmp_path / "catalogue.sqlite").write_bytes(b"not a database" * 100)
    found = {finding.what: finding for finding in examine(Settings(data_dir=tmp_path, port=port))}
    assert found["Catalogue"].level is Level.WRONG
    assert found["Catalogue"].advice


def test_weights_that_the_default_takes(tmp_path: Path, port: int) -> None:
    settings = Settings(data_dir=tmp_path, port=port)
    settings.weights.mkdir()
    (settings.weights / "wide_resnet50_2-95faca4d.pth").write_bytes(b"")
    found = {finding.what: finding for finding in examine(settings)}
    assert "takes wide_resnet50_2" in found["Weights"].detail
