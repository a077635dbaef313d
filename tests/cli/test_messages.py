"""Errors that a user can act on: one line that says what to do, exit code 1, and no traceback."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from api.cli.main import app
from storage.settings import Settings
from storage.stores import Stores

FREE_PORT = "1"  # nothing of ours listens there


def vigil(*arguments: str) -> tuple[int, str, str]:
    """→ exit code, stdout, stderr"""
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ENDPOINT_URL_LOOKOUTVISION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "VIGIL_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("command", [("env",), ("list",), ("status", "p"), ("train", "p"), ("detect", "p", ".")])
def test_a_data_directory_that_was_never_used(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    command = tuple(str(tmp_path) if part == "." else part for part in command)
    code, out, err = vigil(*command, "--data-dir", str(tmp_path / "none"))
    assert (code, out) == (1, "")
    assert "`vigil up` was never run with this data directory" in err
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("key")
@pytest.mark.parametrize("command", [("list",), ("train", "p"), ("stop", "p"), ("start", "p", "1")])
def test_a_service_that_does_not_run(settings: Settings, command: tuple[str, ...]) -> None:
    code, out, err = vigil(*command, "--data-dir", str(settings.data_dir), "--port", FREE_PORT)
    assert (code, out) == (1, "")
    assert err == "Vigil does not answer at http://127.0.0.1:1; start it with `vigil up`.\n"


@pytest.mark.usefixtures("key")
def test_an_endpoint_of_the_environment_needs_its_keys(
    endpoint: str, stores: Stores, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    key = stores.keys.create()
    stores.catalogue.create_project("lids")
    monkeypatch.setenv("AWS_ENDPOINT_URL_LOOKOUTVISION", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret)
    assert vigil("list") == (0, "lids: no model\n", "")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    code, _, err = vigil("list")
    assert code == 1
    assert "AccessDenied" in err or "Signature" in err
    # What the command line names comes before the environment.
    code, _, err = vigil("list", "--data-dir", str(settings.data_dir), "--port", FREE_PORT)
    assert "does not answer at http://127.0.0.1:1" in err


@pytest.mark.usefixtures("key")
def test_refusals_of_the_service_come_through(endpoint: str, settings: Settings) -> None:
    common = ("--data-dir", str(settings.data_dir), "--port", endpoint.rpartition(":")[2])
    code, _, err = vigil("train", "nothing", *common)
    assert code == 1
    assert "nothing" in err
    assert "(ResourceNotFoundException)" in err
    code, _, err = vigil("train", "bad name", *common)
    assert code == 1
    assert "(ValidationException)" in err


@pytest.mark.usefixtures("key")
def test_no_model_to_use(endpoint: str, settings: Settings, stores: Stores) -> None:
    stores.catalogue.create_project("lids")
    common = ("--data-dir", str(settings.data_dir), "--port", endpoint.rpartition(":")[2])
    code, _, err = vigil("start", "lids", *common)
    assert code == 1
    assert err == "No version of project 'lids' is trained; `vigil train` does that (there is none yet).\n"


def test_options_that_are_none(tmp_path: Path) -> None:
    code, _, err = vigil("train", "p", "--option", "detectr=padim", "--data-dir", str(tmp_path))
    assert code == 1
    assert "--option detectr=padim: write NAME=VALUE with one of these names: detector, backbone, image-size" in err


def test_settings_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_PORT", "seven")
    code, _, err = vigil("list")
    assert code == 1
    assert "VIGIL_PORT: " in err
    monkeypatch.delenv("VIGIL_PORT")
    monkeypatch.setenv("VIGIL_HOST", "0.0.0.0")  # noqa: S104 - what must be refused
    code, _, err = vigil("up")
    assert code == 1
    assert "listens on this machine only" in err


def test_paths_that_are_not_there(tmp_path: Path) -> None:
    code, _, err = vigil("import", str(tmp_path / "none"), "--project", "p", "--data-dir", str(tmp_path))
    assert code == 1
    assert "none is not a folder" in err
    code, _, err = vigil("demo", "--data", str(tmp_path / "none"), "--output", str(tmp_path / "out"))
    assert code == 1
    assert "none is not a folder" in err
    assert not (tmp_path / "out").exists()


def test_a_file_as_data_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    code, _, err = vigil("up", "--data-dir", str(file))
    assert code == 1
    assert err.splitlines() == [f"{file}: File exists"]


def test_import_into_another_data_directory_is_refused(
    endpoint: str, stores: Stores, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key = stores.keys.create()
    monkeypatch.setenv("AWS_ENDPOINT_URL_LOOKOUTVISION", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key.id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key.secret)
    monkeypatch.setenv("VIGIL_DATA_DIR", str(tmp_path / "other"))
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    code, _, err = vigil("import", str(tmp_path / "images"), "--project", "p")
    assert code == 1
    assert "keeps its data elsewhere" in err
    assert stores.catalogue.projects() == []


def test_version() -> None:
    code, out, _ = vigil("--version")
    assert code == 0
    assert out.startswith("vigil 0.")
