"""The benchmark of the service: its generator sends what it is told and misses nothing, its page keeps its head."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from api.cli.parts import write_parts
from gpu.images import ImageError, decode
from storage.access import AccessKey
from storage.stores import Stores
from tests.api import replica_server
from tests.benchmarks.datasets import read_data_set
from tests.benchmarks.finding import Finding, Findings, Requirement
from tests.benchmarks.serving.damage import damaged
from tests.benchmarks.serving.load import Load, Outcome, Row, Running, run
from tests.benchmarks.serving.page import MARK, write_page
from tests.benchmarks.serving.pictures import SIZES, TRAINED, Pictures, make_pictures
from tests.benchmarks.serving.plain import WAYS, running_anomalib
from tests.benchmarks.test_quality import ANOMALIB
from tests.conftest import wait_until


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Pictures:
    folder = tmp_path_factory.mktemp("pictures")
    write_parts(folder / "plates", seed=3, train=(3, 0), test=(2, 4))
    return make_pictures(read_data_set(folder / "plates"), folder / "made", normal=3, anomalous=2, sent=4)


@pytest.fixture
def replica(stores: Stores) -> Iterator[replica_server.Server]:
    """Hosts version 1 of the project p."""
    stores.catalogue.create_project("p")
    with replica_server.running(replica_server.well) as server:
        replica_server.host(stores, "p", server)
        yield server


def load(endpoint: str, key: AccessKey, pictures: Pictures, seconds: float, **more: object) -> Load:
    split = urlsplit(endpoint)
    paths = tuple(f"/2020-11-20/projects/p/models/{version}/detect" for version in ("1", "latest"))
    images = tuple(map(str, pictures.sent[TRAINED]))
    return Load((str(split.hostname), split.port or 0), paths, images, seconds, key=(key.id, key.secret), **more)  # type: ignore[arg-type]


def test_pictures_have_the_sizes_of_cameras(pictures: Pictures) -> None:
    for name, size in SIZES.items():
        for path in pictures.sent[name]:
            with Image.open(path) as image:
                assert (image.format, image.size) == ("JPEG", size)
    assert (len(pictures.normal), len(pictures.anomalous), len(pictures.sent[TRAINED])) == (3, 2, 4)


def test_images_come_at_their_rate(
    endpoint: str, key: AccessKey, pictures: Pictures, replica: replica_server.Server
) -> None:
    images = set()

    def noting(request: replica_server.Replica) -> None:
        images.add(request.image)
        replica_server.well(request)

    replica.behaviour = noting
    steady = run(load(endpoint, key, pictures, 1.01, rate=20, poisson=False))
    assert steady.statuses == {200: 20}
    assert [round(row.due, 3) for row in sorted(steady.rows)] == [round(0.05 * n, 3) for n in range(1, 21)]
    drawn = [run(load(endpoint, key, pictures, 1.0, rate=20, seed=seed)) for seed in (1, 1, 2)]
    first, again, other = ([row.due for row in sorted(outcome.rows)] for outcome in drawn)
    assert first == again != other
    assert len(images) == 4, "all images are sent in turn"


def test_clients_wait_for_their_answers(
    endpoint: str, key: AccessKey, pictures: Pictures, replica: replica_server.Server
) -> None:
    found = run(load(endpoint, key, pictures, 30, clients=3, requests=12))
    assert found.statuses == {200: len(found.rows)}
    assert 12 <= len(found.rows) <= 14
    assert len({asked.client_address for asked in replica.asked}) <= 3


def test_a_load_moves_on_and_ends_when_it_is_told(
    endpoint: str, key: AccessKey, pictures: Pictures, replica: replica_server.Server
) -> None:
    with Running(load(endpoint, key, pictures, 60, clients=1)) as running:
        wait_until(lambda: replica.asked, 30, "the first image")
        running.move()
        count = len(replica.asked)
        wait_until(lambda: len(replica.asked) > count + 2, 30, "more images")
        running.end()
        found = running.outcome()
    assert found.failed == 0
    assert len(found.rows) == len(replica.asked)


def test_what_is_refused_or_lost_is_counted(
    endpoint: str, key: AccessKey, pictures: Pictures, replica: replica_server.Server
) -> None:
    stranger = AccessKey(key.id, "another secret", key.role)
    assert run(load(endpoint, stranger, pictures, 30, clients=1, requests=1)).statuses == {403: 1}
    nobody = load("http://127.0.0.1:1", key, pictures, 30, clients=1, requests=1)
    found = run(nobody)
    assert (found.statuses, found.failed) == ({0: 1}, 1)
    assert replica.asked == []


def test_figures_of_an_outcome() -> None:
    rows = [Row(n / 10, n / 10 + 0.02 + n / 1000, 200, 0.001, 0.002, 0.007) for n in range(11)]
    found = Outcome([*rows, Row(0.5, 0.6, 429, 0, 0, 0)], 0.0, 0.0)
    assert (found.failed, found.statuses) == (1, {200: 11, 429: 1})
    assert found.rate() == pytest.approx(10)
    assert found.rate(0.55) == pytest.approx(4 / 0.45)
    assert found.percentile(50) == pytest.approx(0.025)
    assert found.percentile(100, 0.0, 0.25) == pytest.approx(0.022)
    assert found.overheads(0.95) == [pytest.approx(0.02)]


def test_the_page_has_every_part_that_was_ever_measured(tmp_path: Path) -> None:
    page = tmp_path / "serving.md"
    page.write_text(f"# Ours\n\nwords\n\n{MARK}\n\nold figures\n")
    titles = {"first": "The first", "second": "The second", "third": "The third"}
    for name, day in (("second", "Monday"), ("first", "Tuesday")):
        findings = Findings(page.with_suffix(".json"))
        required = [Requirement(f"figure of the {name}", "≤ 4", "5", name == "first")]
        findings.keep(name, Finding(f"a machine on {day}", "Shortly.", ("what", "ms"), [["it", "5"]], required))
        write_page(page, titles, findings.parts)
    text = page.read_text()
    assert text.startswith(f"# Ours\n\nwords\n\n{MARK}\n\n| part |")
    assert "old figures" not in text
    assert "The third" not in text
    assert text.index("### The first") < text.index("### The second")
    assert "Measured on a machine on Monday. Shortly." in text
    assert "| The second | figure of the second | ≤ 4 | 5 | **no** |" in text


@pytest.mark.skipif(not ANOMALIB.exists(), reason="anomalib is not installed; `make bench-serving BASELINE=anomalib`")
def test_anomalib_is_served_beside(pictures: Pictures, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "resnet18.safetensors"
    save_file(torchvision.models.resnet18().state_dict(), weights)
    with running_anomalib(ANOMALIB, weights, 0.1, pictures.normal, (64, 96)) as server:
        assert server.bank == 3 * 8 * 12 // 10
        for way in WAYS:
            found = run(server.load(way, pictures.sent[TRAINED], 30, 1, requests=2))
            assert set(found.statuses) == {200}


def test_damaged_files_are_the_same_for_a_seed_and_none_is_more_than_refused(
    pictures: Pictures, tmp_path: Path
) -> None:
    made = [damaged(pictures.sent[TRAINED], tmp_path / name, 60, seed=1) for name in ("one", "other")]
    assert [path.read_bytes() for path in made[0]] == [path.read_bytes() for path in made[1]]
    decoded = refused = 0
    for path in made[0]:
        try:
            decode(path.read_bytes())
            decoded += 1
        except ImageError:
            refused += 1
    assert min(decoded, refused) > 5
