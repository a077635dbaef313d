"""Rendered parts: the same with the same seed, and masks that show the defect and nothing else."""

from pathlib import Path

import numpy as np
import pytest

from api.cli.folder import read_folder
from api.cli.parts import DEFECTS, HEIGHT, WIDTH, render_part, write_parts


def _pixels(seed: int, defect: str | None) -> np.ndarray:
    return np.asarray(render_part(np.random.default_rng(seed), defect).image).astype(float)


@pytest.mark.parametrize("defect", [None, *DEFECTS])
def test_the_same_seed_gives_the_same_part(defect: str | None) -> None:
    assert np.array_equal(_pixels(5, defect), _pixels(5, defect))
    assert not np.array_equal(_pixels(5, defect), _pixels(6, defect))
    assert render_part(np.random.default_rng(5), defect).image.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("defect", list(DEFECTS))
def test_the_mask_shows_the_defect(defect: str, seed: int) -> None:
    part = render_part(np.random.default_rng(seed), defect)
    assert part.mask is not None
    mask = np.asarray(part.mask)
    assert set(np.unique(mask)) == {0, 255}
    inside = mask > 0
    assert 0.0005 < inside.mean() < 0.05
    changed = np.abs(_pixels(seed, defect) - _pixels(seed, None)).mean(axis=2)
    # Sensor noise changes every pixel a little; the defect is what changes more.
    assert changed[inside].mean() > 2.5 * changed[~inside].mean()
    strong = changed > 30
    assert strong[inside].any()
    assert (strong & ~inside).sum() < 0.5 * (strong & inside).sum()


def test_a_part_without_a_defect_has_no_mask() -> None:
    assert render_part(np.random.default_rng(0)).mask is None


def test_a_written_set_reads_as_what_it_is(tmp_path: Path) -> None:
    write_parts(tmp_path, seed=1, train=(3, 5), test=(2, 4))
    folder = read_folder(tmp_path, labelled=True, max_bytes=2**23)
    assert folder.skipped == []
    train, test = folder.samples["train"], folder.samples["test"]
    assert [sum(s.label == label for s in train) for label in ("normal", "anomaly")] == [3, 5]
    assert [sum(s.label == label for s in test) for label in ("normal", "anomaly")] == [2, 4]
    assert {s.defect for s in test if s.label == "anomaly"} == set(DEFECTS)
    assert all((s.mask is not None) == (s.label == "anomaly") for s in train + test)
