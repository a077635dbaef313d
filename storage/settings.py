"""Settings of every process, read once from the environment (`VIGIL_…`) and never changed afterwards."""

from functools import cached_property
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MEBIBYTE = 1024 * 1024


class Settings(BaseSettings):
    """One frozen value handed down to whoever needs it. Each field's description is its documentation."""

    model_config = SettingsConfigDict(env_prefix="VIGIL_", frozen=True, extra="ignore")

    data_dir: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("vigil"),
        description="directory that holds everything the embedded service keeps",
    )
    host: str = Field("127.0.0.1", description="address the API listens on")
    port: int = Field(
        7580, ge=1, le=65534, description="port the API listens on; a MinIO of `vigil up` takes the next one"
    )
    api_processes: int = Field(
        1, ge=1, le=64, description="processes of the API; one answers some hundred images a second"
    )
    tls_certificate: Path | None = Field(
        None, description="PEM file with the API's certificate, and those that vouch for it; default: no TLS"
    )
    tls_key: Path | None = Field(None, description="PEM file with the private key of that certificate")
    region: str = Field("us-east-1", pattern=r"^[a-z]{2}(-[a-z]+)+-\d$", description="region named in ARNs")
    account: str = Field("000000000000", pattern=r"^\d{12}$", description="account number named in ARNs")

    weights_dir: Path | None = Field(
        None, description="directory with torchvision's weight files; default: weights in the data directory"
    )
    allow_download: bool = Field(False, description="let torchvision download weights that are missing")

    training_memory_gib: float | None = Field(
        None, gt=0, description="memory for the patch embeddings of a training, in GiB; default: 60 % of what is free"
    )
    selection_spending: float = Field(
        3.0, ge=0, description="times of one training that comparing detectors may take; with 0 none are compared"
    )
    max_concurrent_trainings: int = Field(2, ge=1, description="trainings that may wait or run at once")
    queue_trainings: bool = Field(
        False, description="queue trainings over that number instead of refusing them with 402"
    )
    max_inference_units: int = Field(5, ge=1, description="largest number of inference units of one model")
    max_training_images: int = Field(16_000, ge=1, description="images in a training data set")
    max_test_images: int = Field(4_000, ge=1, description="images in a test data set")
    max_image_bytes: int = Field(8 * MEBIBYTE, ge=1024, description="size of an image file")
    min_image_side: int = Field(64, ge=32, description="smallest width or height of an image, in pixels")
    max_image_side: int = Field(4096, ge=64, description="largest width or height of an image, in pixels")
    max_manifest_bytes: int = Field(1024 * MEBIBYTE, ge=1024, description="size of a manifest file")
    min_normal_images: int = Field(20, ge=2, description="normal images that a single-data-set project needs")
    min_anomaly_images: int = Field(10, ge=1, description="anomalous images that a single-data-set project needs")
    min_normal_images_with_test: int = Field(
        10, ge=2, description="normal training images needed where there is a test data set"
    )
    min_test_images: int = Field(10, ge=1, description="images of each class that a test data set needs")
    test_fraction: float = Field(
        0.2, gt=0, lt=1, description="part of a single data set that is held out for the evaluation"
    )
    dimensions: Literal["resize", "refuse"] = Field(
        "resize", description="what to do with images of other dimensions than the training's: resize, or refuse as AWS"
    )

    lease_seconds: float = Field(30, gt=0, description="time after which a silent process counts as dead")
    heartbeat_seconds: float = Field(5, gt=0, description="how often a process says that it lives")
    max_attempts: int = Field(3, ge=1, description="tries of a job before it fails")
    reap_seconds: float = Field(5, gt=0, description="how often unfinished jobs are looked for")
    reconcile_seconds: float = Field(0.5, gt=0, description="how often the inference host compares wanted and running")
    replica_queue: int = Field(32, ge=1, description="requests that may wait in one replica; more get 429")
    scale_up_seconds: float = Field(
        0.2,
        gt=0,
        description="a model whose images wait longer than this in a replica gets another inference unit, up to its "
        "MaxInferenceUnits",
    )
    scale_down_seconds: float = Field(
        300, gt=0, description="after so long without such waiting it gives one up, down to its MinInferenceUnits"
    )
    replica_wait_seconds: float = Field(
        20, ge=0, description="how long DetectAnomalies waits for a replica that is coming back"
    )
    host_id: str | None = Field(None, description="name of this inference host; default: the machine's name")
    replica_address: str = Field(
        "127.0.0.1",
        description="address on which replicas listen and are reached; 0.0.0.0: all, reached by the machine's name",
    )
    ray_address: str | None = Field(
        None,
        description="address of a Ray cluster whose nodes run the replicas, or auto for one that runs on this machine; "
        "default: processes of the inference host",
    )
    ray_http_port: int = Field(
        8000, ge=1, le=65535, description="port of that cluster's first node on which replicas are reached"
    )
    catalogue_url: str | None = Field(None, description="SQLAlchemy URL; default: SQLite in the data directory")
    objects: Literal["auto", "directory", "minio"] = Field(
        "auto",
        description="where `vigil up` keeps objects: in folders, in a MinIO that it starts, or auto, which takes MinIO "
        "where that is found at the first start",
    )
    objects_url: str | None = Field(None, description="address of an S3 server of yours that holds all objects")
    objects_access_key: str | None = Field(None, description="access key of that S3 server")
    objects_secret_key: SecretStr | None = Field(None, description="secret key of that S3 server")
    broker_url: str | None = Field(None, description="Celery broker URL; default: folders in the data directory")
    kms_keys_dir: Path | None = Field(
        None, description="folder of the data keys that KmsKeyId names; default: kms-keys in the data directory"
    )

    @model_validator(mode="after")
    def _refuse_unsafe(self) -> "Settings":
        for name in ("heartbeat_seconds", "reconcile_seconds"):
            if self.lease_seconds < 3 * getattr(self, name):
                raise ValueError(
                    f"VIGIL_LEASE_SECONDS is {self.lease_seconds:g}, VIGIL_{name.upper()} {getattr(self, name):g}: a "
                    "lease must outlast three of those, or a busy machine is taken for a dead one"
                )
        if "?" in str(self.data_dir.absolute()):
            raise ValueError(f"VIGIL_DATA_DIR is {self.data_dir}: a path with a ? cannot hold the catalogue")
        if self.objects_url and not (self.objects_access_key and self.objects_secret_key):
            raise ValueError("VIGIL_OBJECTS_URL needs VIGIL_OBJECTS_ACCESS_KEY and VIGIL_OBJECTS_SECRET_KEY")
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("VIGIL_TLS_CERTIFICATE and VIGIL_TLS_KEY belong together: set both, or none")
        if self.min_image_side > self.max_image_side:
            raise ValueError("VIGIL_MIN_IMAGE_SIDE is larger than VIGIL_MAX_IMAGE_SIDE")
        return self

    @cached_property
    def catalogue(self) -> str:
        """SQLAlchemy URL of the catalogue."""
        return self.catalogue_url or f"sqlite:///{self.data_dir.absolute() / 'catalogue.sqlite'}"

    @cached_property
    def objects_key(self) -> tuple[str, str] | None:
        """Id and secret of the access key of the S3 server that holds all objects."""
        if self.objects_url is None or self.objects_access_key is None or self.objects_secret_key is None:
            return None
        return self.objects_access_key, self.objects_secret_key.get_secret_value()

    @cached_property
    def objects_dir(self) -> Path:
        """Root of the directory object store: one folder per bucket."""
        return self.data_dir.absolute() / "objects"

    @cached_property
    def minio_dir(self) -> Path:
        """All that belongs to the MinIO of `vigil up`."""
        return self.data_dir.absolute() / "minio"

    @cached_property
    def weights(self) -> Path:
        """Directory searched for backbone weights."""
        return self.weights_dir or self.data_dir.absolute() / "weights"

    @cached_property
    def kms_keys(self) -> Path:
        """Folder of the data keys."""
        return (self.kms_keys_dir or self.data_dir / "kms-keys").absolute()
