"""`vigil demo` as a user runs it: what it shows, what it writes, and that it leaves nothing behind."""

import os
import re
import signal
import subprocess
from pathlib import Path

import psutil
import pytest
from PIL import Image

from tests.conftest import wait_until
from tests.minio import PROGRAM
from tests.service import VIGIL

SCORES = r"F1 (\d\.\d{3}), precision \d\.\d{3}, recall \d\.\d{3}"


def processes(place: Path) -> list[psutil.Process]:
    """All processes that keep their data below this directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("VIGIL_DATA_DIR", "").startswith(str(place)) or str(place) in process.cmdline():
                found.append(process)
        except psutil.Error:
            continue
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder for temporary files of the demonstration."""
    (tmp_path / "tmp").mkdir()
    return tmp_path / "tmp"


@pytest.fixture
def environment(place: Path) -> dict[str, str]:
    # A user's own settings, which the demonstration must leave alone.
    own = {"VIGIL_DATA_DIR": str(place.parent / "own"), "VIGIL_CATALOGUE_URL": "sqlite:////nonexistent/catalogue"}
    own |= {"VIGIL_OBJECTS_URL": "http://nowhere.invalid", "VIGIL_OBJECTS": "minio" if PROGRAM else "directory"}
    return {**os.environ, **own, "TMPDIR": str(place), "COLUMNS": "120"}


@pytest.mark.timeout(400)
def test_demo_shows_decisions_figures_times_and_heat_maps(place: Path, environment: dict[str, str]) -> None:
    output = place.parent / "heat maps"
    command = [VIGIL, "demo", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=380, env=environment)
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"(\S+\.png)\W+(normal|anomaly)\W+(true|false)\W+(\d\.\d{3})", done.stdout)
    assert len(rows) == 16
    assert sum(truth == "anomaly" for _, truth, _, _ in rows) == 8
    assert all(0.5 <= float(confidence) <= 1 for *_, confidence in rows)
    right = sum((truth == "anomaly") == (said == "true") for _, truth, said, _ in rows)
    assert right >= 14, done.stdout
    model, unseen = re.findall(SCORES, done.stdout)
    assert min(float(model), float(unseen)) >= 0.8
    steps = ("render parts", "wait for the service", "import images", "train", "host", "detect 16 images", "together")
    for step in steps:
        assert re.search(rf"{step} +\W+ \d+\.\d", done.stdout), step
    assert f"Heat maps: 16 PNG files in {output}" in done.stdout
    pictures = sorted(output.iterdir())
    assert len(pictures) == 16
    for picture in pictures:
        with Image.open(picture) as image:
            assert (image.format, image.width) == ("PNG", 320)
    assert list(place.iterdir()) == []
    assert processes(place) == []
    assert not (place.parent / "own").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_leaves_nothing_behind(
    place: Path, environment: dict[str, str], number: signal.Signals
) -> None:
    command = [VIGIL, "demo", "--output", str(place.parent / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as demo:
        wait_until(lambda: len(processes(place)) >= 5, 120, "the service of the demonstration to run")
        demo.send_signal(number)
        said, _ = demo.communicate(timeout=60)
    assert demo.returncode != 0
    assert b"Traceback" not in said
    assert processes(place) == []
    assert list(place.iterdir()) == []
