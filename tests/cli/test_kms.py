"""`vigil kms`: data keys made and listed, also before the first start; and what doctor says of them."""

from pathlib import Path

from api.cli.doctor import Level, examine
from storage.data_keys import DataKeys
from storage.settings import Settings
from tests.cli.conftest import vigil


def test_a_key_is_made_once_and_listed(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    made = vigil("kms", "create", "line-3", "--data-dir", str(data_dir))
    assert made.stdout.strip() == str(data_dir / "kms-keys" / "line-3.key")
    assert "Back this file up" in made.stderr
    assert data_dir.stat().st_mode & 0o777 == 0o700
    refused = vigil("kms", "create", "alias/line-3", "--data-dir", str(data_dir))
    assert (refused.returncode, "is there already" in refused.stderr) == (1, True)
    assert vigil("kms", "list", "--data-dir", str(data_dir)).stdout == "line-3\n"


def test_the_folder_may_be_anywhere(tmp_path: Path) -> None:
    vigil("kms", "create", "a", "--data-dir", str(tmp_path / "data"), VIGIL_KMS_KEYS_DIR=str(tmp_path / "stick"))
    assert [file.name for file in (tmp_path / "stick").iterdir()] == ["a.key"]


def test_doctor_tells_about_the_keys(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    def found() -> tuple[Level, str]:
        finding = next(finding for finding in examine(settings) if finding.what == "Data keys")
        return finding.level, f"{finding.detail} {finding.advice}"

    assert found() == (Level.OK, "none; `vigil kms create NAME` makes one for KmsKeyId ")
    path = DataKeys(settings.kms_keys).create("a")
    assert found()[0] == Level.OK
    path.chmod(0o644)
    assert found()[0] == Level.WARNING
    assert f"chmod -R go= {tmp_path}/kms-keys" in found()[1]
    path.write_bytes(b"")
    assert found()[0] == Level.WRONG
    assert "0 bytes instead of 32" in found()[1]
