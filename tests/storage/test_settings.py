from pathlib import Path

import pytest
from pydantic import ValidationError

from storage.settings import Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VIGIL_PORT", "0"),
        ("VIGIL_PORT", "65536"),
        ("VIGIL_PORT", "http"),
        ("VIGIL_REGION", "Mars"),
        ("VIGIL_REGION", "us-east-1; rm"),
        ("VIGIL_ACCOUNT", "12345678901"),
        ("VIGIL_ACCOUNT", "12345678901a"),
        ("VIGIL_LEASE_SECONDS", "14"),
        ("VIGIL_LEASE_SECONDS", "0"),
        ("VIGIL_HEARTBEAT_SECONDS", "11"),
        ("VIGIL_RECONCILE_SECONDS", "11"),
        ("VIGIL_MIN_IMAGE_SIDE", "4097"),
        ("VIGIL_MAX_ATTEMPTS", "0"),
        ("VIGIL_TEST_FRACTION", "0"),
        ("VIGIL_TEST_FRACTION", "1"),
        ("VIGIL_DIMENSIONS", "stretch"),
        ("VIGIL_MAX_IMAGE_BYTES", "1023"),
        ("VIGIL_MIN_ANOMALY_IMAGES", "0"),
        ("VIGIL_REPLICA_WAIT_SECONDS", "-1"),
        ("VIGIL_ALLOW_DOWNLOAD", "perhaps"),
    ],
)
def test_an_unsafe_value_is_refused_and_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError, match=rf"(?i){name.removeprefix('VIGIL_')}"):
        Settings()


@pytest.mark.parametrize("name", ["VIGIL_TLS_CERTIFICATE", "VIGIL_TLS_KEY"])
def test_a_certificate_and_its_key_belong_together(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "some.pem")
    with pytest.raises(ValidationError, match="VIGIL_TLS_CERTIFICATE and VIGIL_TLS_KEY belong together"):
        Settings()


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIGIL_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("VIGIL_PORT", "7581")
    monkeypatch.setenv("VIGIL_ACCOUNT", "000000000012")
    settings = Settings()
    assert (settings.data_dir, settings.port, settings.account) == (tmp_path, 7581, "000000000012")


def test_settings_never_change(settings: Settings) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_every_setting_is_documented() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert not field.description.endswith("."), name


def test_the_defaults_are_aws_limits_and_the_loopback_address() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert settings.host == settings.replica_address == "127.0.0.1"
    assert settings.allow_download is False
    assert (settings.max_training_images, settings.max_test_images) == (16_000, 4_000)
    assert settings.max_image_bytes == 8_388_608
    assert (settings.min_image_side, settings.max_image_side) == (64, 4096)
    assert (settings.min_normal_images, settings.min_anomaly_images) == (20, 10)
    assert (settings.min_normal_images_with_test, settings.min_test_images) == (10, 10)
    assert (settings.max_concurrent_trainings, settings.max_inference_units) == (2, 5)


def test_everything_is_kept_below_the_data_directory(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.catalogue == f"sqlite:///{tmp_path}/catalogue.sqlite"
    assert settings.objects_dir == tmp_path / "objects"
    assert settings.weights == tmp_path / "weights"


def test_a_relative_data_directory_is_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings(data_dir=Path("data"))
    assert settings.objects_dir == tmp_path / "data" / "objects"
    assert str(tmp_path) in settings.catalogue
