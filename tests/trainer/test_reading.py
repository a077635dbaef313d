"""Images: every problem is found and named, and none of them hides another."""

import zlib

import pytest

from storage.manifest import Mask, parse_line
from tests.trainer.plant import COLOURS, HEIGHT, WIDTH, Plant, line, part
from trainer.dataset import Sample, TrainingError, merge_labels
from trainer.reading import Reading


def samples_of(lines: list[str]) -> list[Sample]:
    parsed = [parse_line(text) for text in lines]
    return [Sample(p.source_ref, p.label == "anomaly", p.mask, p.content) for p in parsed]


def reading(plant: Plant, samples: list[Sample]) -> Reading:
    return Reading(plant.stores.objects, samples, plant.settings, lambda *_: None)


def test_prepared_images_keep_their_order(plant: Plant) -> None:
    samples = samples_of(plant.render(40, 4, masks=True))
    labels = merge_labels(samples, [])
    reader = reading(plant, samples)
    assert set(reader.dimensions().values()) == {(WIDTH, HEIGHT)}
    made = list(reader.prepared(samples, (64, 96), labels))
    assert [item.sample for item in made] == samples
    assert all(item.image.shape == (3, 64, 96) for item in made)
    assert [set(item.mask.unique().tolist()) for item in made if item.mask is not None] == [{0, 1}, {0, 2}] * 2


def test_all_problems_are_counted_and_the_first_named(plant: Plant) -> None:
    lines = plant.render(4, 0)
    for name, data in (
        ("text.png", b"not an image"),
        ("cut.png", part(1)[0][:-40]),
        ("tiny.png", part(1, size=(80, 60))[0]),
        ("large.png", part(1, size=(520, 64))[0]),
        ("empty.png", b""),
        ("damaged.png", part(2)[0][:200] + b"\x00" * 40 + part(2)[0][240:]),
    ):
        lines.append(line(plant.put_image(name, data), "normal"))
    lines.append(line("s3://plant/missing.png", "anomaly"))
    with pytest.raises(TrainingError) as refused:
        reading(plant, samples_of(lines)).dimensions()
    message = str(refused.value)
    assert message.startswith("7 images cannot be used, of 11")
    assert all(f"s3://plant/{name}.png: " in message for name in ("text", "cut", "tiny", "large", "empty"))
    assert "missing.png" not in message
    assert message.endswith("and 2 more")


def test_damage_behind_the_header_is_found(plant: Plant) -> None:
    whole = part(1)[0]
    start, end = whole.index(b"IDAT"), whole.index(b"IEND") - 8
    content = b"IDAT" + b"\xff" * (end - start - 4)
    broken = whole[:start] + content + zlib.crc32(content).to_bytes(4, "big") + whole[end + 4 :]
    lines = [*plant.render(3, 0), line(plant.put_image("broken.png", broken), "normal")]
    samples = samples_of(lines)
    reader = reading(plant, samples)
    assert len(reader.dimensions()) == 4
    with pytest.raises(TrainingError, match="1 image cannot be used, of 4") as refused:
        list(reader.prepared(samples[:2] + samples[3:], (64, 96), None))
    assert "s3://plant/broken.png: " in str(refused.value)


def test_file_over_the_limit_is_not_read(tmp_path_factory: pytest.TempPathFactory) -> None:
    plant = Plant(tmp_path_factory.mktemp("limit"), {"max_image_bytes": 1024})
    with pytest.raises(TrainingError, match="MiB are allowed"):
        reading(plant, samples_of(plant.render(1, 0))).dimensions()
    plant.stores.database.close()


@pytest.mark.parametrize(
    ("mask", "problem"),
    [
        (part(1, "dent", (WIDTH, HEIGHT + 8))[1], "has 96 × 72 pixels, the image 96 × 64"),
        (part(1, "scratch")[1], "#2ca02c"),
        (b"nothing", "mask"),
        (None, "does not exist"),
    ],
)
def test_masks_are_checked(plant: Plant, mask: bytes | None, problem: str) -> None:
    drawn = Mask("s3://plant/mask.png", {"dent": COLOURS["dent"]})
    if mask is not None:
        plant.put_image("mask.png", mask)
    samples = samples_of([line(plant.put_image("dent.png", part(1, "dent")[0]), "anomaly", drawn)])
    with pytest.raises(TrainingError, match=problem):
        list(reading(plant, samples).prepared(samples, (64, 96), merge_labels(samples, [])))


def test_other_dimensions_are_refused_where_the_settings_say_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    plant = Plant(tmp_path_factory.mktemp("refuse"), {"dimensions": "refuse"})
    lines = plant.render(2, 0)
    lines.append(line(plant.put_image("other.png", part(9, size=(128, 64))[0]), "normal"))
    with pytest.raises(TrainingError) as refused:
        reading(plant, samples_of(lines)).dimensions()
    assert str(refused.value).startswith("Images in the dataset must have the same dimensions. ")
    assert "s3://plant/other.png has 128 × 64" in str(refused.value)
    plant.stores.database.close()


def test_other_dimensions_are_resized_by_default(plant: Plant) -> None:
    lines = [*plant.render(2, 0), line(plant.put_image("other.png", part(9, size=(128, 64))[0]), "normal")]
    samples = samples_of(lines)
    reader = reading(plant, samples)
    assert len(set(reader.dimensions().values())) == 2
    assert {item.image.shape for item in reader.prepared(samples, (64, 96), None)} == {(3, 64, 96)}
