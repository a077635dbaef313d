"""Entry point of the API process: `python -m api.main`."""

import logging

import uvicorn

from api import tls
from api.app import create_app
from storage.lifeline import die_with_parent
from storage.settings import Settings
from storage.stores import open_stores


def main() -> None:
    """Serve until the process is told to stop."""
    die_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = Settings()
    try:
        tls.check(settings)
    except tls.CertificateError as error:
        raise SystemExit(str(error)) from None
    stores = open_stores(settings)
    stores.keys.create_first(settings.objects_key)
    uvicorn.run(
        create_app(settings, stores),
        host=settings.host,
        port=settings.port,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )


if __name__ == "__main__":
    main()
