"""Folders of images: what their layout says, what is left out and why, and which images a demonstration shows."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from api.cli.demo_images import make_plan
from api.cli.folder import Folder, defect_label, read_folder
from api.cli.terminal import CommandError
from storage.settings import Settings

LIMIT = 2**20


def picture(format_: str = "PNG", colour: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (64, 64), colour).save(buffer, format_)
    return buffer.getvalue()


def fill(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture("JPEG" if name.endswith("jpg") else "PNG"))
    return root


def read(root: Path, *, labelled: bool = True) -> Folder:
    return read_folder(root, labelled=labelled, max_bytes=LIMIT)


def labels(folder: Folder, part: str = "train") -> dict[str, str | None]:
    return {sample.name: sample.label for sample in folder.samples[part]}


def test_folders_name_the_labels(tmp_path: Path) -> None:
    fill(tmp_path, "normal/a.png", "Good/b.jpg", "anomaly/c.png", "bad/deep/er/d.jpg", "good/bad/e.png")
    folder = read(tmp_path)
    assert not folder.divided
    assert labels(folder) == {
        "Good/b.jpg": "normal",
        "anomaly/c.png": "anomaly",
        "bad/deep/er/d.jpg": "anomaly",
        "good/bad/e.png": "normal",
        "normal/a.png": "normal",
    }
    assert folder.skipped == []


def test_without_labels_every_image_counts_and_none_is_labelled(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "normal/b.png", "train/good/c.png", "ground_truth/x/c_mask.png")
    folder = read(tmp_path, labelled=False)
    assert set(labels(folder).values()) == {None}
    assert len(folder.samples["train"]) == 4
    assert folder.samples["test"] == []


def test_mvtec_layout_with_masks(tmp_path: Path) -> None:
    fill(
        tmp_path,
        "train/good/000.png",
        "test/good/000.png",
        "test/broken_large/000.png",
        "test/broken_large/001.png",
        "test/bent/sub/000.png",
        "ground_truth/broken_large/000_mask.png",
        "ground_truth/bent/sub/000_mask.png",
    )
    folder = read(tmp_path)
    assert folder.divided
    assert labels(folder) == {"train/good/000.png": "normal"}
    found = {s.name: (s.label, s.defect, s.mask and s.mask.relative_to(tmp_path)) for s in folder.samples["test"]}
    assert found == {
        "test/bent/sub/000.png": ("anomaly", "bent", Path("ground_truth/bent/sub/000_mask.png")),
        "test/broken_large/000.png": ("anomaly", "brokenlarge", Path("ground_truth/broken_large/000_mask.png")),
        "test/broken_large/001.png": ("anomaly", None, None),
        "test/good/000.png": ("normal", None, None),
    }


def test_train_and_test_with_normal_and_anomaly_below(tmp_path: Path) -> None:
    fill(tmp_path, "train/normal/a.png", "train/anomaly/b.png", "test/good/c.png", "test/bad/d.png", "more/e.png")
    folder = read(tmp_path)
    assert labels(folder) == {"train/anomaly/b.png": "anomaly", "train/normal/a.png": "normal"}
    assert labels(folder, "test") == {"test/bad/d.png": "anomaly", "test/good/c.png": "normal"}
    assert [(item.name, item.reason) for item in folder.skipped] == [("more/e.png", "lies outside train/ and test/")]


def test_what_is_no_image_is_listed_with_the_reason(tmp_path: Path) -> None:
    fill(tmp_path, "normal/a.png", "loose.png", "scratches/b.png")
    (tmp_path / "normal/notes.txt").write_text("x")
    (tmp_path / "normal/picture.png").write_bytes(b"GIF89a")
    (tmp_path / "normal/empty.jpg").write_bytes(b"")
    (tmp_path / "normal/large.png").write_bytes(picture() + bytes(LIMIT))
    (tmp_path / "normal/jpeg-in-truth.png").write_bytes(picture("JPEG"))
    (tmp_path / "normal/gone.png").symlink_to(tmp_path / "nowhere.png")
    folder = read(tmp_path)
    assert list(labels(folder)) == ["normal/a.png", "normal/jpeg-in-truth.png"]
    reasons = {item.name: item.reason for item in folder.skipped}
    assert set(reasons) == {
        "loose.png",
        "scratches/b.png",
        "normal/notes.txt",
        "normal/picture.png",
        "normal/empty.jpg",
        "normal/large.png",
        "normal/gone.png",
    }
    assert reasons["normal/notes.txt"] == "is not a JPEG or PNG image"
    assert "at most 1 MB" in reasons["normal/large.png"]
    assert "normal/, good/, anomaly/, bad/" in reasons["scratches/b.png"]
    assert reasons["normal/gone.png"] == "cannot be read: No such file or directory"


def test_a_name_that_is_not_utf8_is_listed(tmp_path: Path) -> None:
    fill(tmp_path, "normal/a.png")
    with open(os.fsencode(tmp_path) + b"/normal/caf\xe9.png", "wb") as file:
        file.write(picture())
    folder = read(tmp_path)
    assert len(folder.samples["train"]) == 1
    assert [item.reason for item in folder.skipped] == ["has a name that is not UTF-8 text; rename it"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(CommandError, match=r"no image to use .* readme\.txt is not a JPEG or PNG"):
        read(tmp_path)
    with pytest.raises(CommandError, match="is not a folder"):
        read(tmp_path / "missing")


@pytest.mark.parametrize(("name", "label"), [("scratch", "scratch"), ("bent_lead-2", "bentlead2"), ("äö", "defect")])
def test_labels_of_defects_are_letters_and_digits(name: str, label: str) -> None:
    assert defect_label(name) == label


def test_demo_keeps_one_in_five_back(tmp_path: Path) -> None:
    fill(tmp_path, *(f"normal/{n}.png" for n in range(30)), *(f"anomaly/{n}.png" for n in range(20)))
    plan = make_plan(tmp_path, Settings())
    assert (len(plan.train), len(plan.test), len(plan.unseen)) == (40, 0, 10)
    assert sum(sample.label == "normal" for sample in plan.unseen) == 6
    assert not set(plan.train) & set(plan.unseen)
    assert make_plan(tmp_path, Settings()) == plan


def test_demo_never_takes_what_the_training_needs(tmp_path: Path) -> None:
    fill(tmp_path, *(f"normal/{n}.png" for n in range(21)), *(f"bad/{n}.png" for n in range(11)))
    plan = make_plan(tmp_path, Settings())
    assert (len(plan.train), len(plan.unseen)) == (30, 2)
    (tmp_path / "bad/0.png").unlink()
    with pytest.raises(CommandError, match=r"21 normal and 10 anomalous images\. Needed are at least 21 normal and 11"):
        make_plan(tmp_path, Settings())


def test_demo_uses_a_test_part_where_training_has_no_defects(tmp_path: Path) -> None:
    names = [f"train/good/{n}.png" for n in range(10)]
    fill(tmp_path, *names, *(f"test/{kind}/{n}.png" for kind in ("good", "hole") for n in range(10)))
    plan = make_plan(tmp_path, Settings())
    assert (len(plan.train), len(plan.test), len(plan.unseen)) == (10, 20, 20)
    (tmp_path / names[0]).unlink()
    with pytest.raises(CommandError, match="9 normal and 0 anomalous images below train/"):
        make_plan(tmp_path, Settings())


def test_demo_uses_a_test_part_as_unseen_images_where_training_has_all_it_needs(tmp_path: Path) -> None:
    fill(tmp_path, *(f"train/good/{n}.png" for n in range(20)), *(f"train/hole/{n}.png" for n in range(10)))
    fill(tmp_path, "test/good/0.png", "test/hole/0.png")
    plan = make_plan(tmp_path, Settings())
    assert (len(plan.train), len(plan.test), len(plan.unseen)) == (30, 0, 2)
