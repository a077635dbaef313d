"""The commands of someone without an AWS client, one after another, against a running service."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.cli.importing import chunks
from api.cli.masks import colour_of
from api.cli.parts import write_parts
from storage.catalogue import Catalogue
from storage.database import Database
from storage.manifest import ManifestLine, parse_line
from storage.objects import parse_s3
from storage.settings import Settings
from tests.cli.conftest import vigil, where
from tests.service import Service


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    write_parts(folder, seed=3, train=(20, 10), test=(2, 2))
    return folder


@pytest.fixture
def catalogue(service: Service) -> Iterator[Catalogue]:
    database = Database(Settings(data_dir=service.data_dir).catalogue)
    yield Catalogue(database)
    database.close()


def entries(catalogue: Catalogue, project: str, type_: str = "train") -> list[ManifestLine]:
    return [parse_line(entry.line) for _, entry in catalogue.entries(catalogue.dataset(project, type_))]


def stored(service: Service, reference: str) -> bytes:
    bucket, key = parse_s3(reference)
    return (service.bucket(bucket) / key).read_bytes()


def gray(path: Path, value: int, format_: str = "PNG") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (64, 64), value).save(path, format_)


def test_import_both_data_sets_with_masks(service: Service, parts: Path, catalogue: Catalogue) -> None:
    done = vigil("import", str(parts), "--project", "plates", "--label-from-folders", *where(service))
    assert done.returncode == 0, done.stderr
    assert "train data set of project 'plates' has 30 images: 20 normal, 10 anomalous, 0 unlabelled" in done.stdout
    assert "test data set of project 'plates' has 4 images: 2 normal, 2 anomalous, 0 unlabelled" in done.stdout
    lines = entries(catalogue, "plates")
    for line in lines:
        name = line.source_ref.partition("datasets/plates/train/")[2]
        assert stored(service, line.source_ref) == (parts / name).read_bytes()
        assert (line.mask is not None) == (line.label == "anomaly")
        if line.mask is not None:
            (defect,) = line.mask.colours
            assert name.split("/")[1] == defect
            assert line.mask.colours[defect] == colour_of(defect)
            drawn = service.bucket("vigil") / parse_s3(line.mask.reference)[1]
            expected = np.asarray(Image.open(parts / "ground_truth" / defect / f"{Path(name).stem}_mask.png")) > 0
            assert np.array_equal(np.asarray(Image.open(drawn)).any(axis=2), expected)


def test_the_same_import_twice_changes_nothing(service: Service, parts: Path, catalogue: Catalogue) -> None:
    before = [(line.source_ref, line.label) for line in entries(catalogue, "plates")]
    done = vigil(
        "import", str(parts), "--project", "plates", "--dataset", "train", "--label-from-folders", *where(service)
    )
    assert done.returncode == 0, done.stderr
    assert [(line.source_ref, line.label) for line in entries(catalogue, "plates")] == before


def test_import_keeps_names_and_overwrites_nothing(service: Service, tmp_path: Path, catalogue: Catalogue) -> None:
    names = ["50 %25 #1.png", "x.png", "normal/ä+b&c=d?.jpg"]
    for number, name in enumerate(names):
        gray(tmp_path / "a" / name, 40 * number, "JPEG" if name.endswith("jpg") else "PNG")
    gray(tmp_path / "b" / "x.png", 200)
    (tmp_path / "b" / "notes.txt").write_text("not an image")
    for folder in ("a", "b", "b"):
        done = vigil("import", str(tmp_path / folder), "--project", "names", *where(service))
        assert done.returncode == 0, done.stderr
    assert "Skipped: notes.txt is not a JPEG or PNG image." in done.stderr
    lines = entries(catalogue, "names")
    assert [line.label for line in lines] == [None] * 4
    for line, name in zip(lines, names, strict=False):
        assert line.source_ref == f"s3://vigil/datasets/names/train/{name}"
        assert stored(service, line.source_ref) == (tmp_path / "a" / name).read_bytes()
    assert lines[3].source_ref.startswith("s3://vigil/datasets/names/train/x-")
    assert stored(service, lines[3].source_ref) == (tmp_path / "b" / "x.png").read_bytes()


def test_status_and_list(service: Service) -> None:
    assert vigil("list", *where(service)).stdout.splitlines()[-1] == "plates: no model"
    shown = vigil("status", "plates", *where(service), COLUMNS="200").stdout
    assert "UPDATE_COMPLETE" in shown
    assert "names" not in shown


@pytest.mark.timeout(600)
def test_train_start_detect_stop(service: Service, parts: Path, tmp_path: Path, catalogue: Catalogue) -> None:
    # Its test part has too few images for a data set of its own: only its train part is imported here.
    project = ("plates2", *where(service))
    imported = vigil("import", str(parts), "--dataset", "train", "--label-from-folders", "--project", *project)
    assert imported.returncode == 0, imported.stderr
    trained = vigil("train", "--option", "seed=3", "--description", "first-try", *project)
    assert trained.returncode == 0, trained.stderr
    assert "Version 1 of project 'plates2' is trained: F1 " in trained.stdout

    refused = vigil("detect", "plates2", str(parts / "test"), *where(service))
    assert refused.returncode == 1
    assert "No version of project 'plates2' is hosted; `vigil start` does that" in refused.stderr

    started = vigil("start", "--max-units", "2", *project)
    assert started.returncode == 0, started.stderr
    assert catalogue.model("plates2", 1).max_units == 2
    assert vigil("start", "plates2", "latest", *where(service)).returncode == 0

    text, images = tmp_path / "text.png", parts / "test"
    text.write_text("no image")
    overlays = tmp_path / "overlays"
    command = ("detect", "plates2", str(images), str(text), "--json", "--overlay", str(overlays), *where(service))
    detected = vigil(*command)
    assert detected.returncode == 1
    assert "1 of 5 images could not be judged" in detected.stderr
    *answers, broken = map(json.loads, detected.stdout.splitlines())
    assert broken == {"Image": str(text), "Error": "is not a JPEG or PNG image"}
    assert len(answers) == 4
    assert all(0.5 <= answer["Confidence"] <= 1 for answer in answers)
    right = sum(answer["IsAnomalous"] == ("good" not in answer["Image"]) for answer in answers)
    assert right >= 3, answers
    assert len(list(overlays.glob("*.png"))) == 4

    table = vigil("detect", "plates2", str(images / "good"), *where(service), COLUMNS="160")
    assert table.returncode == 0, table.stderr
    assert "normal" in table.stdout
    _explain(service, [answer for answer in answers if answer["IsAnomalous"]], tmp_path / "explained", overlays)
    results = tmp_path / "results.csv"
    batch = vigil(
        "detect", "plates2", str(images), "--output", str(results), "--overlay", str(overlays), *where(service)
    )
    assert batch.returncode == 0, batch.stderr
    assert len(results.read_text().splitlines()) == 1 + 4
    stopped = vigil("stop", *project)
    assert stopped.stdout == "Version 1 of project 'plates2' is stopped.\n", stopped.stderr


def _explain(service: Service, anomalous: list[dict[str, Any]], folder: Path, overlays: Path) -> None:
    images = [answer["Image"] for answer in anomalous]
    explain = ("detect", "plates2", *images, "--explain", *where(service))
    done = vigil(*explain, "--json", "--overlay", str(folder))
    assert done.returncode == 0, done.stderr
    normal = set(service.bucket("vigil").glob("datasets/plates2/train/train/good/*.png"))
    for line, plain in zip(done.stdout.splitlines(), anomalous, strict=True):
        answer = json.loads(line)
        regions = answer.pop("Explanation")["Regions"]
        assert answer == plain
        for region in regions:
            bucket, key = parse_s3(region["NearestNormal"]["SourceRef"])
            assert service.bucket(bucket) / key in normal
    for path in folder.glob("*.png"):
        (unexplained,) = overlays.glob(f"*{path.name}")
        with Image.open(path) as explained, Image.open(unexplained) as before:
            assert explained.width == before.width
            assert explained.height > before.height + before.width // 2
    told = vigil(*explain, COLUMNS="300")
    assert told.returncode == 0, told.stderr
    assert told.stdout.count("most like s3://vigil/datasets/plates2/train/train/good/") >= len(images)


def test_a_training_that_fails_says_why(service: Service, tmp_path: Path) -> None:
    for number in range(30):
        gray(tmp_path / ("normal" if number < 20 else "anomaly") / f"{number}.png", number)
    broken = tmp_path / "normal" / "0.png"
    broken.write_bytes(broken.read_bytes()[:50])
    common = where(service)
    assert vigil("import", str(tmp_path), "--project", "broken", "--label-from-folders", *common).returncode == 0
    failed = vigil("train", "broken", *common)
    assert failed.returncode == 1
    assert "TRAINING_FAILED" in failed.stderr
    assert "normal/0.png" in failed.stderr
    assert "Traceback" not in failed.stderr


def test_changes_are_sent_in_parts_that_the_service_takes() -> None:
    lines = ["ä" * 49] * 10  # 98 bytes and a line feed each
    assert [len(part) for part in chunks(lines, 300)] == [3, 3, 3, 1]
    assert list(chunks([], 300)) == []
    assert list(chunks(["x" * 500], 300)) == [["x" * 500]]
