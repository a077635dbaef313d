"""The benchmark of decisions: nothing judged was learned from, the figures are those named, the page keeps its head."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from api.cli.parts import write_parts
from storage.options import TrainingOptions
from tests.benchmarks.arrangement import Arrangement, arrange, counts_for, prepared, shared_size, truth_masks
from tests.benchmarks.baseline import MODELS, Baseline
from tests.benchmarks.datasets import DataSet, Photo, read_data_set
from tests.benchmarks.finding import Finding, Requirement
from tests.benchmarks.own import run_own
from tests.benchmarks.quality.mistakes import worst_mistakes, write_mistakes
from tests.benchmarks.quality.report import MARK, DataSetPart, Report, Run
from tests.benchmarks.quality.studies import unseen_kinds
from tests.benchmarks.verdicts import Figures, Verdicts, judge

ANOMALIB = Path(__file__).parents[2] / ".venv-anomalib" / "bin" / "python"


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    folder = tmp_path_factory.mktemp("plates")
    write_parts(folder, seed=3, train=(12, 0), test=(5, 8))
    return read_data_set(folder)


def verdicts(scores: list[float], threshold: float, maps: list[torch.Tensor] | None = None) -> Verdicts:
    maps = maps or [torch.full((8, 8), score) for score in scores]
    return Verdicts(scores, [score > threshold for score in scores], threshold, maps, 1.5, (8, 8))


@pytest.mark.parametrize("limit", [None, 3])
def test_nothing_that_is_shown_is_judged(plates: DataSet, limit: int | None) -> None:
    seen = set()
    for seed in (0, 1):
        made = arrange(plates, seed, 4, limit)
        assert made == arrange(plates, seed, 4, limit)
        assert not {*made.train, *made.labelled} & {*made.test}
        assert len(made.labelled) == 4
        assert (len(made.train), made.truth.count(False), made.truth.count(True)) == (
            (3, 3, 3) if limit else (12, 5, 4)
        )
        seen.add(made.labelled)
    assert len(seen) == 2


def test_at_least_half_of_the_bad_ones_are_judged(plates: DataSet) -> None:
    assert counts_for(plates, [5, 4, 0, 4]) == [0, 4]
    assert counts_for(plates, [100]) == [0]


def test_figures_at_the_own_threshold_and_in_hindsight() -> None:
    mask = torch.zeros(8, 8, dtype=torch.uint8)
    mask[2:4, 2:4] = 1
    found = judge(
        verdicts([1.0, 2.0, 3.0, 4.0], 3.5, [torch.ones(8, 8), torch.ones(8, 8), 1.0 + mask, torch.ones(8, 8)]),
        [False, False, True, True],
        [torch.zeros_like(mask), torch.zeros_like(mask), mask, None],
    )
    assert (found.auroc, found.average_precision, found.f1_in_hindsight) == (1, 1, 1)
    assert (found.precision, found.recall, found.f1) == (1, 0.5, pytest.approx(2 / 3))
    assert found.pixel_auroc == pytest.approx(1)
    assert found.aupro == pytest.approx(1)
    without = judge(verdicts([2.0, 1.0], 1.5), [False, True], [torch.zeros_like(mask), None])
    assert (without.auroc, without.f1, without.pixel_auroc, without.aupro) == (0, 0, None, None)


def test_the_worst_mistake_comes_first(plates: DataSet, tmp_path: Path) -> None:
    scores = [1.0, 9.0, 3.0, 0.5, 8.0]
    found, truth = verdicts(scores, 2.0), [False, False, False, True, True]
    assert worst_mistakes(found, truth) == [1, 3, 2]
    photos = (*plates.good[:3], *plates.bad[:2])
    (tmp_path / "old.png").touch()
    assert write_mistakes(tmp_path, found, photos) == 3
    assert [path.name[:2] for path in sorted(tmp_path.glob("*.png"))] == ["01", "02", "03"]


def test_the_page_keeps_what_stands_above_the_mark(tmp_path: Path) -> None:
    report = tmp_path / "docs" / "quality.md"
    figures = Figures(0.91, 0.92, 0.93, 0.94, 0.95, 0.96, None, None, 7.4)
    runs = [
        Run("plates", "Vigil auto", "vigil-s", labelled, seed, (256, 320), "padim", figures)
        for labelled in (0, 10)
        for seed in (0, 1)
    ]
    about = {"machine": "a machine", "versions": {"Vigil": "1"}, "seeds": 2, "limit": None, "coreset_ratio": 0.01}
    for words in (f"# Ours\n\nwords\n\n{MARK}\n\nold figures", None):
        report.parent.mkdir(exist_ok=True)
        if words is not None:
            report.write_text(words)
        kept = Report(report)
        unmet = Requirement("rate", "≥ 9", "7", False)
        study = Finding("a machine", "Ten seeds.", ("seed", "rate"), [("0", "7")], [unmet])
        kept.keep_study("alarms", [("Alarms", study)])
        kept.keep_runs(about, [DataSetPart("plates", 12, 5, 8)], runs)
        text = report.read_text()
        assert text.startswith(f"# Ours\n\nwords\n\n{MARK}\n\nMeasured on a machine; Vigil 1. Mean")
        assert "anomalib's PatchCore keeps 0.01 of the patches" in text
        assert "old figures" not in text
        assert "| Vigil auto (padim) | vigil-s | 10 | 320 × 256 | 0.910 ± 0.000 |" in text
        assert "| Vigil auto | vigil-s | 10 | +0.000 ± 0.000 | +0.000 ± 0.000 | – |" in text
        assert "### Alarms\n\nMeasured on a machine. Ten seeds.\n\n| seed | rate |" in text
        assert "| Alarms | rate | ≥ 9 | 7 | **no** |" in text
    stored = json.loads(report.with_suffix(".json").read_text())
    assert [run["figures"]["f1"] for run in stored["detectors"]["runs"]] == [0.93] * 4


def test_a_kind_is_judged_that_nobody_has_shown(plates: DataSet) -> None:
    options = TrainingOptions(detector="patchcore", image_size=64, backbone="vigil-s")
    found = unseen_kinds(plates, options, None, seeds=1)
    assert found is not None
    assert [row[0] for row in found.rows] == sorted({photo.defect for photo in plates.bad})
    assert all(0 <= float(row[1]) <= 1 and 0 <= float(row[2]) <= 1 for row in found.rows)
    one_kind = replace(plates, bad=tuple(photo for photo in plates.bad if photo.defect == plates.bad[0].defect))
    assert unseen_kinds(one_kind, options, None, seeds=1) is None


@pytest.mark.parametrize("labelled", [0, 4])
def test_vigil_is_trained_and_judged(plates: DataSet, labelled: int) -> None:
    made = arrange(plates, 0, 4)
    found = run_own(made, labelled, TrainingOptions(backbone="vigil-s", image_size=128), None)
    assert found.input_size == shared_size(made, 128) == (128, 160)
    figures = judge(found, made.truth, truth_masks(made.test, found.input_size))
    assert figures.auroc >= 0.8
    assert figures.pixel_auroc is not None
    assert figures.pixel_auroc >= 0.8
    assert [score > found.threshold for score in found.scores] == found.decisions


def test_photographs_are_prepared_at_one_size_with_their_masks(plates: DataSet) -> None:
    made = Arrangement((), (), (*plates.good[:1], *plates.bad[:1], Photo(plates.bad[1].path, "unmarked")))
    assert prepared(made.test, (64, 96)).shape == (3, 3, 64, 96)
    assert prepared((), (64, 96)).shape == (0, 3, 64, 96)
    good, bad, unknown = truth_masks(made.test, (64, 96))
    assert good is not None
    assert not bool(good.any())
    assert bad is not None
    assert 0 < int(bad.sum()) < 64 * 96 / 4
    assert unknown is None


@pytest.mark.skipif(not ANOMALIB.exists(), reason="anomalib is not installed; `make bench-quality BASELINE=anomalib`")
@pytest.mark.parametrize("model", MODELS)
def test_anomalib_judges_the_same_photographs(plates: DataSet, model: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "resnet18.safetensors"
    save_file(torchvision.models.resnet18().state_dict(), weights)
    made, baseline = arrange(plates, 0, 4, limit=5), Baseline(ANOMALIB, weights)
    found = baseline.run(model, made, [0, 4], (64, 96), seed=0)
    assert list(found) == [0, 4]
    assert found[0].scores == found[4].scores
    assert len(found[0].scores) == len(found[0].maps) == len(made.test)
    assert found[0].maps[0].shape == (64, 96)
    assert found[0].threshold > 0
    assert baseline.versions["anomalib"].startswith("2.7.0 ")
