"""What most tests share: a data directory of their own, its stores, and an API server that a real client talks to."""

import socket
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest
import uvicorn
from botocore.config import Config
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from starlette.types import ASGIApp

from api.app import create_app
from storage.access import AccessKey
from storage.settings import Settings
from storage.stores import Stores, open_stores

FIGURES: list[str] = []  # those of fixtures; a test's own come with its report, from whichever process ran it

# A busy machine is no failure, and examples may share the server or the stores of their test.
hypothesis_settings.register_profile(
    "vigil", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
hypothesis_settings.load_profile("vigil")


@pytest.fixture
def figure(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Takes a line with a measured figure; all of them are printed at the end of the run."""
    return partial(record_property, "figure")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    lines = FIGURES + [value for report in reports for name, value in report.user_properties if name == "figure"]
    if lines:
        terminalreporter.section("figures")
        for line in lines:
            terminalreporter.line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails on a whole service shows what the service printed."""
    report = yield
    service = getattr(item, "funcargs", {}).get("service")
    if report.failed and service is not None:
        report.sections.append(("the service's log", service.log()))
    return report


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", replica_wait_seconds=1)


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    opened = open_stores(settings)
    yield opened
    opened.database.close()


@pytest.fixture
def key(stores: Stores) -> AccessKey:
    return stores.keys.create()


@pytest.fixture
def endpoint(settings: Settings, stores: Stores) -> Iterator[str]:
    """The address of an API server over the test's stores; no trainer and no inference host run."""
    with serving(settings, stores) as address:
        yield address


@pytest.fixture
def lookout(endpoint: str, key: AccessKey) -> Any:
    """AWS's own client."""
    return client(endpoint, key)


class serving_app:  # noqa: N801 - used as a context manager
    """An HTTP server in a thread of this process, on a free port. → its address"""

    def __init__(self, app: ASGIApp) -> None:
        # asyncio turns Nagle's algorithm off only where the protocol is named; with it each answer takes 40 ms longer.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.bind(("127.0.0.1", 0))
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, server_header=False))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> str:
        self._thread.start()
        wait_until(lambda: self._server.started, 30, "the server to start")
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def serving(settings: Settings, stores: Stores) -> serving_app:
    """An API server over these stores."""
    return serving_app(create_app(settings, stores))


def client(endpoint: str, key: AccessKey, **options: Any) -> Any:
    """boto3's client of the service at this address."""
    return boto3.client(
        "lookoutvision",
        endpoint_url=endpoint,
        region_name="us-east-1",
        aws_access_key_id=key.id,
        aws_secret_access_key=key.secret,
        config=Config(retries={"total_max_attempts": 1}, **options),
    )


def free_port() -> int:
    """A port of the loopback that nobody listens on at this moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def wait_until(condition: Any, seconds: float, what: str) -> Any:
    """The first true value of a condition, polled until a deadline that fails the test."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)
    return value
