"""Which store a data directory gets, that it keeps it, and what is said where that cannot be."""

import os
import socket
import sys
from pathlib import Path

import pytest

from api.cli.doctor import Finding, Level, examine
from api.cli.object_store import choose_store, find_program, has_minio, kept_in, minio_child
from api.cli.terminal import CommandError
from storage.settings import Settings
from storage.stores import open_objects
from tests.cli.conftest import vigil
from tests.service import service_port


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of the PATH; no program lies beside Python either."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(path: Path) -> Path:
    program = path / "minio"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return program


def test_auto_takes_folders_without_minio_and_keeps_them_when_it_comes(path: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    choose_store(settings)
    assert kept_in(settings) == "directory"
    install(path)
    choose_store(settings)
    assert (kept_in(settings), settings.minio_dir.exists()) == ("directory", False)


def test_auto_keeps_images_that_were_there_before_the_first_start(path: Path, tmp_path: Path) -> None:
    install(path)
    settings = Settings(data_dir=tmp_path / "data")
    open_objects(settings).put("plant", "a.png", b"x")
    choose_store(settings)
    assert kept_in(settings) == "directory"


def test_auto_takes_minio_and_asks_for_it_when_it_is_gone(path: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data")
    program = install(path)
    assert find_program() == str(program)
    choose_store(settings)
    assert has_minio(settings)
    assert settings.minio_dir.stat().st_mode & 0o077 == 0
    assert not settings.objects_dir.exists()
    program.unlink()
    with pytest.raises(CommandError, match=r"keeps its objects in MinIO, which is not found now\. Put the program"):
        choose_store(settings)
    assert finding(settings).level is Level.WRONG


def test_minio_beside_the_running_python_is_found_without_a_path(path: Path, tmp_path: Path) -> None:
    assert find_program() is None
    assert find_program() != install(tmp_path)
    assert find_program() == str(tmp_path / "minio")
    assert list(path.iterdir()) == []


def test_minio_that_is_asked_for_and_missing_is_refused(path: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "data", objects="minio")
    with pytest.raises(CommandError, match=r"asked for, but not found.*--objects"):
        choose_store(settings)
    assert kept_in(settings) is None
    assert list(path.iterdir()) == []


@pytest.mark.parametrize(("first", "then"), [("directory", "minio"), ("minio", "directory")])
def test_a_directory_never_changes_its_store(path: Path, tmp_path: Path, first: str, then: str) -> None:
    install(path)
    choose_store(Settings(data_dir=tmp_path, objects=first))  # type: ignore[arg-type]
    with pytest.raises(CommandError, match=r"keeps its objects in .*, and they would be missing: leave out --objects"):
        choose_store(Settings(data_dir=tmp_path, objects=then))  # type: ignore[arg-type]
    assert kept_in(Settings(data_dir=tmp_path)) == first


def test_an_s3_server_of_yours_needs_no_other_store(path: Path, tmp_path: Path) -> None:
    install(path)
    yours = {"objects_url": "http://127.0.0.1:9", "objects_access_key": "a", "objects_secret_key": "b"}
    settings = Settings(data_dir=tmp_path / "data", **yours)  # type: ignore[arg-type]
    choose_store(settings)
    assert not settings.data_dir.exists()
    assert not has_minio(settings)
    with pytest.raises(CommandError, match="VIGIL_OBJECTS_URL names an S3 server"):
        choose_store(settings.model_copy(update={"objects": "minio"}))


def test_up_refuses_before_it_starts_anything(tmp_path: Path) -> None:
    (tmp_path / "data" / "minio").mkdir(parents=True)
    refused = vigil("up", "--data-dir", str(tmp_path / "data"), "--port", "1999", "--objects", "directory")
    assert refused.returncode == 1
    assert "keeps its objects in MinIO, not in folders" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert sorted(os.listdir(tmp_path / "data")) == ["minio", "vigil.lock"]


def test_a_key_file_that_is_lost_is_not_made_anew(path: Path, tmp_path: Path) -> None:
    install(path)
    settings = Settings(data_dir=tmp_path / "data")
    choose_store(settings)
    assert minio_child(settings).own["MINIO_KMS_SECRET_KEY"] == minio_child(settings).own["MINIO_KMS_SECRET_KEY"]
    file = settings.minio_dir / "encryption.key"
    assert file.stat().st_mode & 0o777 == 0o600
    file.unlink()
    (settings.minio_dir / "drive").mkdir()
    with pytest.raises(CommandError, match=r"encryption\.key is missing"):
        minio_child(settings)
    assert not file.exists()


def test_the_port_of_s3_that_is_taken_is_refused(tmp_path: Path) -> None:
    program = install(tmp_path)
    port = service_port()
    with socket.create_server(("127.0.0.1", port + 1)):
        arguments = ("--data-dir", str(tmp_path / "data"), "--port", str(port), "--objects", "minio")
        refused = vigil("up", *arguments, PATH=f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    assert refused.returncode == 1
    assert f"Port {port + 1} of this machine (for S3; the one after --port) is taken" in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize("found", [True, False])
def test_doctor_says_what_the_first_start_will_take(path: Path, tmp_path: Path, found: bool) -> None:
    if found:
        install(path)
    row = finding(Settings(data_dir=tmp_path))
    assert row.level is Level.OK
    assert ("starts MinIO" in row.detail) == found
    assert ("Put the program `minio` on the PATH" in row.advice) != found


def finding(settings: Settings) -> Finding:
    return next(row for row in examine(settings) if row.what == "Object store")
