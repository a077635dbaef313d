"""`vigil detect --output`: many images into a file, a run that is killed, and the next one that goes on with it."""

import csv
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from storage.access import AccessKey
from storage.settings import Settings
from storage.stores import Stores
from tests.api.replica_server import RESULT, Replica, host, running, well
from tests.cli.conftest import vigil
from tests.conftest import wait_until
from tests.service import VIGIL

JPEG = b"\xff\xd8\xff\xe0"
AT_ONCE = 8  # images on their way


class Line:
    """A service of a test's own, whose replica does as `behaviour` says; the command line calls it."""

    def __init__(self, settings: Settings, stores: Stores, endpoint: str, folder: Path) -> None:
        self.stores, self.folder = stores, folder
        self.where = ["--data-dir", str(settings.data_dir), "--port", str(urlsplit(endpoint).port)]
        self.asked: list[bytes] = []
        self.behaviour: Callable[[Replica], None] = well

    def answer(self, request: Replica) -> None:
        self.asked.append(request.image)
        self.behaviour(request)

    def images(self, *names: str) -> list[str]:
        """Files of this name, each with a content of its own. → their paths, as results name them"""
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(JPEG + name.encode())
        return sorted(str(self.folder / name) for name in names)

    def detect(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return vigil("detect", "p", *arguments, *self.where)


@pytest.fixture
def line(settings: Settings, stores: Stores, key: AccessKey, endpoint: str, tmp_path: Path) -> Iterator[Line]:
    assert stores.keys.first() == key
    stores.catalogue.create_project("p")
    made = Line(settings, stores, endpoint, tmp_path / "images")
    with running(made.answer) as server:
        host(stores, "p", server)
        yield made


def records(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_with_all_below_it_into_csv(line: Line, tmp_path: Path) -> None:
    places = line.images("a.jpg", "b/c.jpg", 'b/d e,"f".jpg')
    (line.folder / "notes.txt").write_text("no image")
    broken = tmp_path / "text.png"
    broken.write_text("no image either")

    def found(request: Replica) -> None:
        areas = [("background", 0.9), ("scratch", 0.1)]
        anomalies = [{"Name": name, "PixelAnomaly": {"TotalPercentageArea": area}} for name, area in areas]
        request.answer(200, {"DetectAnomalyResult": {**RESULT["DetectAnomalyResult"], "Anomalies": anomalies}})

    line.behaviour = found
    done = line.detect(str(line.folder), str(broken), "--output", str(tmp_path / "out" / "r.csv"))
    assert done.returncode == 1
    assert "1 of 4 images could not be judged" in done.stderr
    assert "4 images: 3 anomaly, 0 normal, 1 not judged. Results: " in done.stdout
    *judged, refused = records(tmp_path / "out" / "r.csv")
    assert [record["Image"] for record in judged] == places
    assert all(record["Model"] == "p/1" and record["Anomalies"] == "scratch=0.100000" for record in judged)
    assert all(record["IsAnomalous"] == "true" and float(record["Confidence"]) > 0.99 for record in judged)
    assert (refused["Image"], refused["Confidence"]) == (str(broken), "")
    assert refused["Error"] == "is not a JPEG or PNG image"


def test_a_prefix_of_a_bucket_into_json_lines(line: Line, tmp_path: Path) -> None:
    for name in ("in/1.jpg", "in/deep/2.JPEG", "in/3.manifest", "elsewhere/4.jpg"):
        line.stores.objects.put("plant", name, JPEG + name.encode())
    output = tmp_path / "r.jsonl"
    done = line.detect("s3://plant/in/", "--output", str(output), "--version", "latest")
    assert done.returncode == 0, done.stderr
    found = [json.loads(text) for text in output.read_text().splitlines()]
    images = ["s3://plant/in/1.jpg", "s3://plant/in/deep/2.JPEG"]
    assert found == [{"Model": "p/1", "Image": image, **RESULT["DetectAnomalyResult"]} for image in images]
    nothing = line.detect("s3://plant/out/", "--output", str(output))
    assert nothing.returncode == 1
    assert "There is no image below s3://plant/out/" in nothing.stderr


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_run_that_was_killed_is_gone_on_with(line: Line, tmp_path: Path, ending: str) -> None:
    places = line.images(*(f"{number:03}.jpg" for number in range(40)))
    output, release = tmp_path / f"r.{ending}", threading.Event()

    def stuck_after_twenty(request: Replica) -> None:
        if len(line.asked) > 20:
            release.wait(60)
        well(request)

    line.behaviour = stuck_after_twenty
    command = [VIGIL, "detect", "p", str(line.folder), "--output", str(output), *line.where]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        wait_until(lambda: len(line.asked) > 20, 60, "some images to be judged, and some to be on their way")
        run.kill()
    release.set()
    written = output.read_bytes()
    kept = len(written.splitlines()) - (ending == "csv")
    assert len(line.asked) - kept <= AT_ONCE, "only what was on its way is lost"
    assert written.endswith(b"\n")
    # And where the power goes, a line is cut anywhere.
    output.write_bytes(written + written.splitlines()[-1][:25])
    line.asked.clear()
    done = line.detect(str(line.folder), "--output", str(output))
    assert done.returncode == 0, done.stderr
    assert f"{kept} of 40 images are in {output} already." in done.stderr.replace("\n", "")
    missing = {JPEG + f"{number:03}.jpg".encode() for number in range(kept, 40)}
    assert set(line.asked) == missing
    assert output.read_bytes().startswith(written)
    found = records(output) if ending == "csv" else [json.loads(text) for text in output.read_text().splitlines()]
    assert [record["Image"] for record in found] == places
    line.asked.clear()
    assert line.detect(str(line.folder), "--output", str(output)).returncode == 0
    assert line.asked == []


def test_a_busy_service_is_waited_for(line: Line, tmp_path: Path) -> None:
    line.images("a.jpg", "b.jpg")

    def busy_at_first(request: Replica) -> None:
        request.answer(503, {"message": "full"}) if len(line.asked) <= 2 else well(request)

    line.behaviour = busy_at_first
    done = line.detect(str(line.folder), "--output", str(tmp_path / "r.csv"))
    assert done.returncode == 0, done.stderr
    assert len(line.asked) == 4


def test_a_service_that_fails_ends_the_run_and_records_nothing_wrong(line: Line, tmp_path: Path) -> None:
    line.images("a.jpg")
    line.behaviour = lambda request: request.answer(500, {"message": "out of memory"})
    done = line.detect(str(line.folder), "--output", str(tmp_path / "r.jsonl"))
    assert (done.returncode, (tmp_path / "r.jsonl").read_bytes()) == (1, b"")
    assert "InternalServerException" in done.stderr


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("r.txt", None, "must end in .csv or .jsonl"),
        ("r.csv", "part,result\n1,ok\n", "was not written by `vigil detect`"),
        ("r.jsonl", '{"part": 1}', "was not written by `vigil detect`"),
        ("r.jsonl", '{"Model": "p/1", "Image": "x"}\n{"Model": 3}\n', "line 2 was not written"),
        ("r.jsonl", '{"Model": "p/7", "Image": "x"}\n', "has results of the model p/7; name another file for p/1"),
    ],
)
def test_files_that_are_not_gone_on_with(
    line: Line, tmp_path: Path, name: str, content: str | None, reason: str
) -> None:
    line.images("a.jpg")
    if content is not None:
        (tmp_path / name).write_text(content)
    done = line.detect(str(line.folder), "--output", str(tmp_path / name))
    assert done.returncode == 1
    assert reason in done.stderr.replace("\n", " ")
    assert line.asked == []
    assert content is None or (tmp_path / name).read_text() == content


def test_two_runs_do_not_write_one_file(line: Line, tmp_path: Path) -> None:
    line.images("a.jpg")
    release = threading.Event()

    def slow(request: Replica) -> None:
        release.wait(60)
        well(request)

    line.behaviour = slow
    command = [VIGIL, "detect", "p", str(line.folder), "--output", str(tmp_path / "r.csv"), *line.where]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        wait_until(lambda: line.asked, 60, "the first run to be at work")
        second = line.detect(str(line.folder), "--output", str(tmp_path / "r.csv"))
        release.set()
        assert first.wait(60) == 0
    assert second.returncode == 1
    assert "is being written by another" in second.stderr
