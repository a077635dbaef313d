"""The benchmark of time and memory: it compares like with like, its clocks add up, the page tells what was measured."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file

from api.cli.parts import write_parts
from gpu import coreset, neighbours, patchcore
from gpu.images import decode
from gpu.pretraining.scenes import render
from storage.errors import NoSuchObject
from tests.benchmarks.datasets import read_data_set
from tests.benchmarks.speed.enlarged import enlarge
from tests.benchmarks.speed.neighbours import compare
from tests.benchmarks.speed.rendered import Rendered
from tests.benchmarks.speed.report import MARK, keep, write_report
from tests.benchmarks.speed.selection import compare_with_plain_loop, plain_loop, select
from tests.benchmarks.speed.stopwatch import Stopwatch
from tests.benchmarks.speed.volume import time_phases
from tests.benchmarks.usage import Meter, cpu_seconds, memory

SIDE = 128


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bases") / "bases.npy"
    np.save(path, np.stack([render(seed, SIDE).clip(24, 231) for seed in (1, 2)]))
    return path


def test_ours_and_the_plain_loop_pick_the_same(tmp_path: Path) -> None:
    points = torch.randn(3000, 160, generator=torch.Generator().manual_seed(0))
    save_file({"points": points}, tmp_path / "points")
    job = {"points": str(tmp_path / "points"), "ratio": 0.02, "seed": 0}
    assert select(job)["picks"] == 60
    found = compare_with_plain_loop(job | {"compared": 40})
    assert (found["agreed"], found["compared"]) == (40, 40)
    distances = torch.cdist(points, points)
    chosen = plain_loop(points, 3, 7).tolist()
    assert chosen[:2] == [7, int(distances[7].argmax())]
    assert chosen[2] == int(torch.minimum(distances[7], distances[chosen[1]]).argmax())


def test_rendered_images_are_distinct_and_always_the_same(bases: Path) -> None:
    rendered = Rendered(np.load(bases))
    good, bad = rendered.samples(0, 4), rendered.samples(0, 4, bad=True)
    keys = [sample.reference.removeprefix("s3://rendered/") for sample in (*good, *bad)]
    files = [rendered.get("rendered", key) for key in keys]
    assert len(set(files)) == 8
    assert rendered.making > 0
    again = Rendered(np.load(bases))
    again.make([*good, *bad])
    assert [again.get("rendered", key) for key in keys] == files
    images = [decode(data) for data in files]
    assert all(image.shape == (3, SIDE, SIDE) for image in images)
    assert [sample.anomalous for sample in (*good, *bad)] == [False] * 4 + [True] * 4
    with pytest.raises(NoSuchObject):
        rendered.get("rendered", "other/000000.jpg")


def test_photographs_are_enlarged_evenly(tmp_path: Path) -> None:
    write_parts(tmp_path / "plates", seed=3, train=(6, 0), test=(3, 4))
    made = enlarge(read_data_set(tmp_path / "plates"), tmp_path / "enlarged", 4, 3, 96)
    assert (len(made.train), made.truth) == (4, [False] * 3 + [True] * 3)
    for path in (*made.train, *made.test):
        with Image.open(path) as image:
            assert (image.format, image.size) == ("JPEG", (96, 96))


def test_the_phases_of_a_training_add_up(bases: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    save_file(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.safetensors")
    before = coreset.farthest_first, neighbours.nearest, patchcore.nearest
    job = {"bases": str(bases), "weights": str(tmp_path), "size": 64, "ratio": 0.05, "tests": 2, "images": 8}
    found = time_phases(job)
    assert (found["images"], found["tests"]) == (8, 4)
    assert before == (coreset.farthest_first, neighbours.nearest, patchcore.nearest)
    main = {name: seconds for name, seconds in found["phases"].items() if name not in ("decode", "resize")}
    assert set(main) == {
        "headers",
        "waiting for images",
        "backbone",
        "calibration, coreset",
        "calibration, search",
        "coreset",
        "evaluation",
    }
    assert all(seconds > 0 for seconds in found["phases"].values())
    assert sum(main.values()) <= found["wall"]


def test_what_a_measured_function_calls_counts_as_its_own() -> None:
    watch = Stopwatch()
    inner = watch.timed(lambda: time.sleep(0.02), "inner", time.perf_counter)
    watch.timed(inner, "outer", time.perf_counter)()
    assert list(watch.seconds) == ["outer"]
    assert watch.seconds["outer"] >= 0.02


def test_a_meter_counts_children_and_the_peak() -> None:
    meter, before = Meter(), cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(3_000_000))"], check=True)
    held = bytearray(64 << 20)
    held[:: 1 << 12] = bytes(len(held) >> 12)
    used = meter.read()
    assert 0.01 < used["cpu"] <= cpu_seconds() - before
    assert used["peak"] >= memory("VmRSS") - (8 << 20) > len(held)


def test_the_page_is_written_from_all_parts_that_were_measured(tmp_path: Path) -> None:
    report = tmp_path / "docs" / "speed.md"
    report.parent.mkdir()
    report.write_text(f"# By hand\n\n{MARK}\n\nold figures\n")
    about = {"machine": "a machine", "ended": "today", "load": 0.1, "data": "plates", "scale": {"rounds": 3}}
    job = {"points": 4000, "rows": 40, "rounds": 3}
    measured = compare(job)
    assert measured["same"] == measured["compared"] == 1024
    keep(report, "neighbours", about | {"figures": {"points": 4000, "dimensions": 128, "banks": [measured]}})
    scored = {"wall": 2.0, "cpu": 3.0, "images": 20}
    slow = [{"wall": wall, "cpu": 20.0, "images": 20} for wall in (13.0, 14.0, 15.0)]
    rows = [{"batch": 1, "ours": [scored], "baseline": slow}, {"batch": 8, "ours": [scored], "baseline": []}]
    figures = {"side": 1024, "size": 256, "ratio": 0.01, "images": 20, "batches": rows}
    keep(report, "scoring", about | {"figures": figures})
    write_report(report)
    text = report.read_text()
    assert text.startswith(f"# By hand\n\n{MARK}\n\n### Scoring\n\nMeasured on a machine; ended today")
    assert "old figures" not in text
    assert "| 1 | 10.0 | 1.4 (1.3–1.5) | 6 × | 7.0 × | 150 | 1000 (1000–1000) |" in text
    assert "| 8 | 10.0 | – | 6 × | – | 150 | – |" in text
    assert text.index("### Scoring") < text.index("### Nearest neighbours")
    keep(report, "scoring", about | {"figures": figures | {"batches": rows[1:]}})
    write_report(report)
    assert "| 1 | 10.0 |" not in report.read_text()
    assert set(json.loads(report.with_suffix(".json").read_text())) == {"neighbours", "scoring"}


def test_what_is_required_stands_beside_what_was_measured(tmp_path: Path) -> None:
    report = tmp_path / "speed.md"
    about = {"machine": "a machine", "ended": "today", "load": 0.1, "data": "plates", "scale": {"rounds": 1}}
    shape = {"side": 1024, "size": 256, "ratio": 0.01}
    bank = {"ratio": 0.01, "picks": 1638, "ours_ms": [1.0], "ours_projection_s": 0.5, "plain_ms": 27.0}
    theirs = {"baseline_ms": [130.0], "baseline_picks": 60, "baseline_dimensions": 296}
    banks = [bank | theirs | {"compared": 1638, "agreed": 1638}, bank | theirs | {"compared": 3000, "agreed": 12}]
    patches = {"points": 163_840, "images": 160, "dimensions": 384}
    keep(report, "coreset", about | {"figures": patches | {"banks": banks}})
    ours = [{"wall": 10.0, "cpu": 8.0, "peak": 600 << 20, "auroc": auroc} for auroc in (0.80, 0.82)]
    other = [
        {"wall": 60.0, "cpu": 56.0, "peak": 1500 << 20, "auroc": 0.80, "versions": {"anomalib": "2", "torch": "3"}}
    ]
    phases = {"wall": 9.0, "cpu": 8.0, "phases": {"backbone": 3.0, "coreset": 1.5, "decode": 2.0}}
    counts = {"images": 90, "evaluated": 20, "good": 150, "bad": 150}
    trained = shape | counts | {"ours": ours, "baseline": other, "phases": phases}
    keep(report, "training", about | {"figures": trained})
    run = {"images": 10_000, "budget": 4.0, "bounded": True}
    held = run | {"peak": 5 << 30, "empty": 1 << 30, "wall": 500.0, "cpu": 900.0, "making": 100.0, "auroc": 0.9}
    runs = [held | {"plan": "in parts"}, run | {"bounded": False, "refused": "It needs more."}]
    keep(report, "memory", about | {"figures": shape | {"tests": 80, "runs": runs}})
    grown = [
        {"images": images, "tests": 80, "wall": wall, "phases": {"coreset": apart, "evaluation": 1.0, "backbone": 2.0}}
        for images, wall, apart in ((50, 7.0, 1.0), (500, 76.0, 20.0), (50, 9.0, 1.0), (50, 3.0, 1.0))
    ]
    keep(report, "growth", about | {"figures": shape | {"tests": 80, "runs": grown}})
    write_report(report)
    text = report.read_text()
    assert "| 1 %, 1,638 picks | 1.000 | 27.0 | 130.0 | 100 × | 130.0 × | yes (1,638 compared) |" in text
    assert "| no: pick 13 differs (3,000 compared) |" in text
    assert "anomalib 2 on torch 3" in text
    assert "| less CPU time | 5 × | 7.0 × |" in text
    assert "| AUROC | ± 0.002 | +0.0100 |" in text
    assert "| peak RSS | under 60 % | 40 % |" in text
    assert "| all else | 4.50 |" in text
    assert "| 100.00 (20.00–140.00) | 20.00 (20.00–20.00) |" in text
    assert "| 10,000 | 4.0 GiB | 4.00 | yes | 500 | 800 | 0.9000 | in parts |" in text
    assert "refused: It needs more." in text
    assert "| wall time per image | within 20 % | 10 % |" in text
