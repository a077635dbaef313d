"""One engine, one build and one stack for all tests here."""

import subprocess
import time
from collections.abc import Generator, Iterator

import pytest

from tests.compose.engine import Engine, Unavailable, running_engine
from tests.compose.images import build_images
from tests.compose.stack import Stack, copy_checkout, running_stack
from tests.conftest import FIGURES


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what the containers printed; what all tests lack is reported in one line."""
    report = yield
    if isinstance(report.longrepr, tuple):
        report.longrepr = (__file__, 0, report.longrepr[2])
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and stack is not None:
        report.sections.append(("the containers' log", stack.log()))
    return report


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    try:
        with running_engine() as found:
            yield found
    except Unavailable as error:
        pytest.skip(f"the containers are not tested: {error}")


@pytest.fixture(scope="session")
def stack(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    checkout, started = copy_checkout(tmp_path_factory.mktemp("checkout")), time.monotonic()
    subprocess.run(["sh", "deploy/env.sh"], cwd=checkout, check=True, capture_output=True)
    try:
        images = build_images(engine, checkout, tmp_path_factory.mktemp("images"))
    except Unavailable as error:
        pytest.skip(f"the containers are not tested: {error}")
    size = int(engine.docker("image", "inspect", "--format={{.Size}}", images["VIGIL_IMAGE"])) / 1e9
    built = time.monotonic()
    FIGURES.append(f"images built in {built - started:.0f} s; Vigil's has {size:.1f} GB")
    with running_stack(engine, checkout, images, "--scale=trainer=2", "--scale=inference=2") as running:
        FIGURES.append(
            f"stack of {len(running.containers())} containers healthy after {time.monotonic() - built:.0f} s"
        )
        yield running
