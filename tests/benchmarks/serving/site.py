"""The service under load: a whole `vigil up` with a trained model, and what can be seen of it from outside."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from storage.hosting import Hosting
from storage.manifest import label_line
from storage.settings import Settings
from storage.stores import Stores, open_stores
from tests.benchmarks.serving.load import Load
from tests.benchmarks.serving.pictures import Pictures
from tests.journey import BUCKET, create_project, host, wait_for_model
from tests.service import Service, running_service

PROJECT = "served"
_TRAINING_SECONDS = 1800.0
_CREATED = "2026-01-01T00:00:00.000"
# Only for models that may have more units than their least: soon up, soon down.
QUICK_SCALING = {"VIGIL_SCALE_UP_SECONDS": "0.05", "VIGIL_SCALE_DOWN_SECONDS": "5"}


class Site:
    """A running service whose project has trained versions of one model; tells where to send images."""

    def __init__(self, service: Service, stores: Stores, pictures: Pictures) -> None:
        self.service, self.stores, self.pictures = service, stores, pictures
        self.lookout = service.client(retries={"total_max_attempts": 5}, read_timeout=120)
        names = service.exports()
        self._key = names["AWS_ACCESS_KEY_ID"], names["AWS_SECRET_ACCESS_KEY"]

    @property
    def hosting(self) -> Hosting:
        """The units, as the inference host sees them."""
        return self.stores.hosting

    def train(self, size: int, ratio: float, backbone: str) -> None:
        """Train one version more."""
        tags = {"backbone": backbone, "image-size": str(size), "coreset-ratio": str(ratio), "detector": "patchcore"}
        tagged = [{"Key": f"vigil:{name}", "Value": value} for name, value in tags.items()]
        output = {"S3Location": {"Bucket": BUCKET, "Prefix": "evaluation/"}}
        made = self.lookout.create_model(ProjectName=PROJECT, OutputConfig=output, Tags=tagged)["ModelMetadata"]
        found = wait_for_model(self.lookout, PROJECT, made["ModelVersion"], _TRAINING_SECONDS)
        if found["Status"] != "TRAINED":
            raise RuntimeError(found["StatusMessage"])

    def start(self, version: str = "1", units: int = 1, most: int | None = None) -> None:
        """Host a version. Returns once it is hosted."""
        if most is None:
            found = host(self.lookout, PROJECT, version, units)
        else:
            wanted = {"MinInferenceUnits": units, "MaxInferenceUnits": most}
            self.lookout.start_model(ProjectName=PROJECT, ModelVersion=version, **wanted)
            found = wait_for_model(self.lookout, PROJECT, version)
        if found["Status"] != "HOSTED":
            raise RuntimeError(found["StatusMessage"])

    def stop(self, version: str = "1") -> None:
        """Host a version no more. Returns once all its replicas are gone."""
        self.lookout.stop_model(ProjectName=PROJECT, ModelVersion=version)
        wait_for_model(self.lookout, PROJECT, version)

    @contextmanager
    def hosted(self, version: str = "1", units: int = 1, most: int | None = None) -> Iterator[None]:
        """A version that is hosted meanwhile."""
        self.start(version, units, most)
        try:
            yield
        finally:
            self.stop(version)

    def replicas(self, version: int = 1) -> list[str]:
        """The replicas of a version that take requests now."""
        return [replica for replica, _ in self.hosting.addresses(PROJECT, version)]

    def load(self, images: Sequence[Path], seconds: float, versions: Sequence[int] = (1,), **more: Any) -> Load:
        """Images for these versions, of which the first is asked until the load is moved on."""
        paths = tuple(f"/2020-11-20/projects/{PROJECT}/models/{version}/detect" for version in versions)
        address = "127.0.0.1", self.service.port
        return Load(address, paths, tuple(map(str, images)), seconds, key=self._key, **more)

    def processes(self) -> list[psutil.Process]:
        """All of the service, `vigil up` and its trainers too."""
        return self.service.processes()

    def artefact(self, version: int = 1) -> bytes:
        """The file of the model, as a replica reads it."""
        stored = self.stores.catalogue.model(PROJECT, version).artefact
        assert stored is not None
        return self.stores.objects.get(stored.bucket, stored.key)


@contextmanager
def running_site(folder: Path, pictures: Pictures, weights: Path | None, **environment: str) -> Iterator[Site]:
    """A service with the pictures in the data set of its project; stopped at the end."""
    own = dict(QUICK_SCALING)
    if weights is not None:
        own["VIGIL_WEIGHTS_DIR"] = str(weights.absolute())
    folder.mkdir()
    with running_service(folder, **(own | environment)) as service:
        stores = open_stores(Settings(data_dir=service.data_dir))
        try:
            site = Site(service, stores, pictures)
            lines = []
            for label, files in (("normal", pictures.normal), ("anomaly", pictures.anomalous)):
                for number, file in enumerate(files):
                    name = f"{label}-{number:04}.jpg"
                    (service.bucket(BUCKET) / name).write_bytes(file.read_bytes())
                    lines.append(label_line(f"s3://{BUCKET}/{name}", label, _CREATED, None))
            create_project(site.lookout, service, PROJECT, "\n".join(lines).encode())
            yield site
        finally:
            stores.database.close()
