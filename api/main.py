"""Entry point of the API: `python -m api.main`, one process or several that share a port."""

import logging
import multiprocessing
import os
import tempfile
from typing import Any

import uvicorn
from fastapi import FastAPI

from api import tls
from api.app import create_app
from api.detections import SHARED_COUNTERS
from storage.lifeline import die_with_parent
from storage.settings import Settings
from storage.stores import open_stores


def app() -> FastAPI:
    """The application of one of several processes; uvicorn starts them, and again where they end."""
    first = multiprocessing.parent_process()
    _prepare(parent=first.pid if first else None)
    return create_app(Settings())


def main() -> None:
    """Serve until the process is told to stop."""
    _prepare()
    settings = Settings()
    try:
        tls.check(settings)
    except tls.CertificateError as error:
        raise SystemExit(str(error)) from None
    stores = open_stores(settings)
    stores.keys.create_first(settings.objects_key)
    how: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "ssl_certfile": settings.tls_certificate,
        "ssl_keyfile": settings.tls_key,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": 10,
    }
    if settings.api_processes == 1:
        uvicorn.run(create_app(settings, stores), **how)
        return
    stores.database.close()  # each process opens its own
    with tempfile.TemporaryDirectory(prefix="vigil-counters-") as counters:
        os.environ[SHARED_COUNTERS] = counters
        uvicorn.run(
            "api.main:app",
            factory=True,
            workers=settings.api_processes,
            timeout_worker_healthcheck=30,  # a busy machine may well need more than the default 5 s for the start
            **how,
        )


def _prepare(parent: int | None = None) -> None:
    die_with_parent(parent)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")


if __name__ == "__main__":
    main()
