"""A whole service for the clients, and manifests in its bucket."""

from collections.abc import Iterator

import pytest

from tests.journey import BUCKET, manifest, render_parts
from tests.service import Service, running_service


@pytest.fixture(scope="package")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service")) as started:
        yield started


@pytest.fixture(scope="package")
def bucket(service: Service) -> str:
    """The bucket with images plates/000.png to 031.png, the last twelve with defects, and two manifests of them.

    train.manifest labels all but the last two; more.manifest labels the last one, without a mask.
    """
    images = render_parts(service, "plates", normal=20, anomaly=12, seed=11, masks=True)
    keys = list(images)
    folder = service.bucket(BUCKET)
    (folder / "train.manifest").write_bytes(manifest({key: images[key] for key in keys[:30]}, masks=True))
    (folder / "more.manifest").write_bytes(manifest({keys[31]: images[keys[31]]}, masks=False))
    return BUCKET
