"""`vigil keys`: made, listed and revoked in the data directory, without a service that runs."""

import re
import subprocess
from pathlib import Path

import pytest

from api.cli.service import prepare
from storage.settings import Settings
from storage.stores import open_stores
from tests.service import VIGIL


def vigil(data_dir: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [VIGIL, "keys", *arguments, "--data-dir", str(data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def data_dir(settings: Settings) -> Path:
    prepare(settings)
    return settings.data_dir


def test_a_key_is_made_listed_and_revoked(data_dir: Path, settings: Settings) -> None:
    printed = vigil(data_dir, "create", "--role", "operator").stdout
    names = dict(re.findall(r"^export (\w+)='?([^'\n]+)'?$", printed, re.MULTILINE))
    stores = open_stores(settings)
    made = stores.keys.find(names["AWS_ACCESS_KEY_ID"])
    assert made is not None
    assert (made.secret, made.role) == (names["AWS_SECRET_ACCESS_KEY"], "operator")
    listed = vigil(data_dir, "list").stdout
    assert re.search(rf"{made.id}.*operator", listed)
    assert made.secret not in listed
    assert vigil(data_dir, "revoke", made.id).returncode == 0
    assert stores.keys.find(made.id) is None
    stores.database.close()


def test_a_key_is_limited_to_projects(data_dir: Path, settings: Settings) -> None:
    created = vigil(data_dir, "create", "--role", "operator", "--project", "plates", "--project", "lids")
    id_ = re.findall(r"AWS_ACCESS_KEY_ID=(\w+)", created.stdout)[0]
    stores = open_stores(settings)
    made = stores.keys.find(id_)
    assert made is not None
    assert made.projects == {"plates", "lids"}
    listed = vigil(data_dir, "list").stdout
    assert re.search(rf"{id_}.*operator.*lids, plates", listed)
    assert re.search(r"admin.*all", listed)
    stores.database.close()


def test_a_project_that_cannot_be_is_refused(data_dir: Path) -> None:
    refused = vigil(data_dir, "create", "--project", "a/b")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "The project 'a/b' cannot be: its name must be" in refused.stderr


def test_the_last_admin_and_an_unknown_key_are_not_revoked(data_dir: Path, settings: Settings) -> None:
    stores = open_stores(settings)
    only = stores.keys.first()
    assert only is not None
    refused = vigil(data_dir, "revoke", only.id)
    assert (refused.returncode, "only admin key left" in refused.stderr) == (1, True)
    refused = vigil(data_dir, "revoke", "AKIANOBODY")
    assert (refused.returncode, "there is no access key 'AKIANOBODY'" in refused.stderr) == (1, True)
    assert stores.keys.find(only.id) == only
    stores.database.close()


def test_without_a_service_ever_started_there_are_no_keys(tmp_path: Path) -> None:
    refused = vigil(tmp_path / "nothing", "list")
    assert (refused.returncode, "was never run" in refused.stderr) == (1, True)
