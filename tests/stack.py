"""The servers of the stack and `vigil up` on them: PostgreSQL, Redis and MinIO, each of which a test may kill."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import numpy as np
from botocore.config import Config

from api.cli.parts import render_part
from storage.manifest import label_line
from storage.settings import Settings
from tests import minio as minio_server
from tests import postgres as postgres_server
from tests import redis as redis_server
from tests.journey import BUCKET
from tests.minio import Minio, running_minio
from tests.postgres import Postgres, running_postgres
from tests.redis import Redis, running_redis
from tests.service import QUICK, Service, running_service

MISSING = [
    name
    for name, server in (("MinIO", minio_server), ("PostgreSQL", postgres_server), ("Redis", redis_server))
    if server.PROGRAM is None
]
REASON = f"the stack is not tested: {' and '.join(MISSING)} not installed"


@dataclass
class Stack:
    """A running service, and the servers below it."""

    service: Service
    minio: Minio
    redis: Redis
    postgres: Postgres
    environment: dict[str, str]

    def s3(self) -> Any:
        """AWS's own S3 client, as cameras use it."""
        return boto3.client(
            "s3",
            endpoint_url=self.minio.url,
            region_name="us-east-1",
            aws_access_key_id=self.minio.user,
            aws_secret_access_key=self.minio.secret,
            config=Config(s3={"addressing_style": "path"}),
        )

    def settings(self) -> Settings:
        """The settings that the service runs with."""
        names = {name.removeprefix("VIGIL_").lower(): value for name, value in self.environment.items()}
        return Settings(data_dir=self.service.data_dir, **names)  # type: ignore[arg-type]

    def second_trainer(self, log: Path) -> subprocess.Popen[bytes]:
        """Another worker for trainings, as another machine would run it."""
        environment = {**self.service.environment, "VIGIL_DATA_DIR": str(self.service.data_dir)}
        command = [sys.executable, "-m", "trainer.worker", "--queue", "training"]
        with log.open("ab") as output:
            return subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)

    def upload_plates(self, folder: Path, *, normal: int, anomaly: int, seed: int) -> list[str]:
        """Render plates, good ones first, and upload them to the bucket. → their manifest lines"""
        random, s3, lines = np.random.default_rng(seed), self.s3(), []
        s3.create_bucket(Bucket=BUCKET)
        for number in range(normal + anomaly):
            defect = "stain" if number >= normal else None
            file = folder / f"{number:03}.png"
            render_part(random, defect).image.save(file)
            s3.upload_file(str(file), BUCKET, f"plates/{file.name}")
            label = "anomaly" if defect else "normal"
            lines.append(label_line(f"s3://{BUCKET}/plates/{file.name}", label, "2026-01-01T00:00:00"))
        return lines


@contextmanager
def running_stack(folder: Path, **environment: str) -> Iterator[Stack]:
    """The servers, and a service on them that is stopped at the end, whatever happens."""
    with ExitStack() as servers:
        minio = servers.enter_context(running_minio(folder / "minio"))
        redis = servers.enter_context(running_redis(folder / "redis"))
        postgres = servers.enter_context(running_postgres())
        environment = {
            **QUICK,
            "VIGIL_CATALOGUE_URL": postgres.database(),
            "VIGIL_BROKER_URL": redis.url,
            "VIGIL_OBJECTS_URL": minio.url,
            "VIGIL_OBJECTS_ACCESS_KEY": minio.user,
            "VIGIL_OBJECTS_SECRET_KEY": minio.secret,
            **environment,
        }
        (folder / "service").mkdir()
        service = servers.enter_context(running_service(folder / "service", **environment))
        yield Stack(service, minio, redis, postgres, environment)
