"""A model with a KmsKeyId: sealed where it is stored, of use only where the key is."""

from pathlib import Path
from typing import Any

import pytest
import safetensors
from safetensors.numpy import load

from storage.data_keys import DataKeys
from storage.sealing import sealed_with
from storage.settings import Settings
from tests.conftest import wait_until
from tests.journey import BUCKET, create_project, detect, host, manifest, render_parts, train
from tests.service import Service

KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:alias/plant/line-3"


@pytest.fixture(scope="module")
def image(service: Service, lookout: Any) -> Path:
    """A project `sealed` that can be trained, and a key. → an anomalous image"""
    DataKeys(Settings(data_dir=service.data_dir).kms_keys).create("alias/plant/line-3")
    images = render_parts(service, "sealed", normal=20, anomaly=10, seed=31, masks=False)
    create_project(lookout, service, "sealed", manifest(images, masks=False))
    return service.bucket(BUCKET) / next(key for key, defect in images.items() if defect)


def test_life_of_a_sealed_model(service: Service, lookout: Any, image: Path) -> None:
    model = train(lookout, "sealed", KmsKeyId=KEY_ARN)
    assert (model["Status"], model["KmsKeyId"]) == ("TRAINED", KEY_ARN)
    (stored,) = (service.data_dir / "objects" / "vigil" / "models" / "sealed" / "1").rglob("*.safetensors")
    data = stored.read_bytes()
    assert sealed_with(data) == "plant/line-3"
    with pytest.raises(safetensors.SafetensorError):
        load(data)
    assert b"patchcore" not in data

    assert host(lookout, "sealed")["Status"] == "HOSTED"
    answer = detect(lookout, "sealed", image)
    assert answer["IsAnomalous"]
    stop(lookout)

    key = service.data_dir / "kms-keys" / "plant%2Fline-3.key"
    content = key.read_bytes()
    key.unlink()
    failed = host(lookout, "sealed")
    assert failed["Status"] == "HOSTING_FAILED"
    assert f"there is no data key 'plant/line-3': the file {key} does not exist" in failed["StatusMessage"]
    assert "Put the file of the key back" in failed["StatusMessage"]

    key.write_bytes(bytes(32))
    failed = host(lookout, "sealed")
    assert failed["Status"] == "HOSTING_FAILED"
    assert "is another one than that which sealed s3://vigil/models/sealed/1/" in failed["StatusMessage"]

    key.write_bytes(content)
    assert host(lookout, "sealed")["Status"] == "HOSTED"
    assert detect(lookout, "sealed", image) == answer
    stop(lookout)


def stop(lookout: Any) -> None:
    lookout.stop_model(ProjectName="sealed", ModelVersion="1")

    def stopped() -> bool:
        found = lookout.describe_model(ProjectName="sealed", ModelVersion="1")["ModelDescription"]
        return bool(found["Status"] == "TRAINED")

    wait_until(stopped, 60, "the model to stop")
