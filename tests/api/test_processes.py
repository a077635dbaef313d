"""Several processes of the API: one port, one set of counters, and no lasting gap where one is killed."""

import base64
from pathlib import Path

import httpx
import psutil
from botocore.exceptions import BotoCoreError, ClientError
from prometheus_client.parser import text_string_to_metric_families

from storage.settings import Settings
from storage.stores import open_stores
from tests.api.replica_server import detect, host, running, well
from tests.conftest import wait_until
from tests.processes import below
from tests.service import Service, running_service

PROJECT = "plates"


def workers(service: Service) -> list[psutil.Process]:
    """Those that answer, below the one that watches them."""
    (first,) = service.find("api.main")
    return below(first.pid, "spawn_main")


def counted(service: Service) -> dict[str, float]:
    names = service.exports()
    pair = f"{names['AWS_ACCESS_KEY_ID']}:{names['AWS_SECRET_ACCESS_KEY']}"
    told = httpx.get(
        f"{service.url}/metrics",
        headers={"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"},
        trust_env=False,
    ).raise_for_status()
    samples = [s for family in text_string_to_metric_families(told.text) for s in family.samples]
    return {s.name: s.value for s in samples if s.labels.get("project") == PROJECT and "le" not in s.labels}


def test_several_processes_answer_and_count_as_one(tmp_path: Path) -> None:
    with running_service(tmp_path, VIGIL_API_PROCESSES="2") as service, running(well) as replica:
        stores = open_stores(Settings(data_dir=service.data_dir))
        service.client().create_project(ProjectName=PROJECT)
        host(stores, PROJECT, replica)
        stores.database.close()
        both = wait_until(lambda: workers(service) if len(workers(service)) == 2 else None, 60, "two processes")
        for _ in range(20):  # a connection each, which either process may take
            assert detect(service.client(), PROJECT)["IsAnomalous"]
        assert counted(service)["vigil_ProcessedImageCount_total"] == 20
        assert counted(service)["vigil_InServiceInferenceUnits"] == 1

        both[0].kill()
        wait_until(lambda: len({p.pid for p in workers(service)} - {both[0].pid}) == 2, 60, "another process")
        wait_until(lambda: _answers(service), 30, "the API to answer")
        assert counted(service)["vigil_ProcessedImageCount_total"] >= 20, "what the killed one counted is kept"


def _answers(service: Service) -> bool:
    try:
        return bool(detect(service.client(retries={"total_max_attempts": 1}), PROJECT)["IsAnomalous"])
    except (BotoCoreError, ClientError):
        return False
