"""A trained inspector end to end: fit, inspect, store, load, test itself."""

import json
from collections.abc import Callable

import pytest
import torch
from texture import SIZE, render
from torch import Tensor

from gpu.artefact import ArtefactError, load, read_header, save
from gpu.backbone import Backbone, load_backbone
from gpu.fitting import Recipe, fit_inspector
from gpu.images import resize
from gpu.inspection import Inspector, References, SelfTestError
from gpu.normals import Normals
from gpu.patch_embedding import Embedding


def unused(_phase: str, _fraction: float) -> None:
    pass


def rewrite(data: bytes, change: Callable[[dict[str, object]], object]) -> bytes:
    """The artefact with its description changed."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    description = json.loads(header["__metadata__"]["vigil"])
    change(description)
    header["__metadata__"]["vigil"] = json.dumps(description)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + data[8 + length :]


def test_spots_are_told_from_clean_texture(inspector: Inspector) -> None:
    clean, spotted = inspector.inspect(render(10, 5)[0]), inspector.inspect(render(10, 6, spot=True)[0])
    assert max(i.score for i in clean) < min(i.score for i in spotted)
    assert not any(i.is_anomalous for i in clean)
    assert all(i.is_anomalous for i in spotted)
    assert all(i.probability < 0.5 < j.probability for i, j in zip(clean, spotted, strict=True))


def test_the_spot_is_found_and_named(inspector: Inspector) -> None:
    images, masks = render(4, 6, spot=True)
    for found, mask in zip(inspector.inspect(images), masks, strict=True):
        assert found.label_map is not None
        assert found.label_map.shape == found.anomaly_map.shape == SIZE
        assert set(found.label_map.unique().tolist()) == {0, 1}
        both, either = (found.label_map > 0) & (mask > 0), (found.label_map > 0) | (mask > 0)
        assert float(both.sum() / either.sum()) > 0.4
    assert inspector.defect_bank is not None
    assert inspector.defect_bank.names == ("spot",)


def test_a_clean_image_has_no_marked_pixel(inspector: Inspector) -> None:
    (found,) = inspector.inspect(render(1, 5)[0])
    assert found.label_map is not None
    assert int(found.label_map.max()) == 0


def test_a_batch_inspects_as_its_images_one_by_one(inspector: Inspector) -> None:
    images = torch.cat((render(3, 7)[0], render(3, 8, spot=True)[0]))
    together = inspector.inspect(images)
    for image, found in zip(images, together, strict=True):
        (alone,) = inspector.inspect([image])
        assert alone.score == pytest.approx(found.score, rel=1e-5)
        assert alone.is_anomalous == found.is_anomalous
        torch.testing.assert_close(alone.anomaly_map, found.anomaly_map, rtol=1e-4, atol=1e-5)


def test_images_are_prepared_to_the_input_size(inspector: Inspector) -> None:
    prepared = resize(torch.zeros(3, 300, 400, dtype=torch.uint8), inspector.input_size)
    assert prepared.shape == (3, *SIZE)
    with pytest.raises(ValueError, match="not prepared"):
        inspector.inspect(torch.zeros(1, 3, 300, 400, dtype=torch.uint8))


def test_a_loaded_artefact_scores_the_same(inspector: Inspector) -> None:
    data = save(inspector, torch.cat((render(2, 5)[0], render(4, 6, spot=True)[0])), "1.2.3")
    loaded, references = load(data, load_backbone)
    assert len(references.images) == 4
    assert references.decisions == (False, False, True, True)
    images = torch.cat((render(2, 9)[0], render(2, 10, spot=True)[0]))
    for before, after in zip(inspector.inspect(images), loaded.inspect(images), strict=True):
        assert before.score == after.score
        assert before.probability == after.probability
        assert torch.equal(before.anomaly_map, after.anomaly_map)
        assert before.label_map is not None
        assert after.label_map is not None
        assert torch.equal(before.label_map, after.label_map)
    assert loaded.self_test() == 0
    assert save(loaded, references.images, "1.2.3") == data
    assert read_header(data)["software_version"] == "1.2.3"


@pytest.mark.parametrize("name", ["patchcore", "padim"])
def test_the_same_seed_gives_the_same_bytes(name: str, embedding: Embedding, patches: Tensor) -> None:
    recipe, none, normals = Recipe(name, coreset_ratio=0.05, seed=3), patches[:0], Normals.whole(patches, 3)
    made = [
        save(fit_inspector(embedding, recipe, normals, none, None, {}, SIZE, unused), render(2, 5)[0], "1")
        for _ in range(2)
    ]
    assert made[0] == made[1]


def test_another_machine_that_scores_otherwise_fails_its_self_test(inspector: Inspector) -> None:
    with pytest.raises(ValueError, match="no reference images"):
        inspector.self_test()
    images = render(1, 5)[0]
    (found,) = inspector.inspect(images)
    inspector.self_test(References(images, (found.score * 1.0005,), (False,)))
    with pytest.raises(SelfTestError, match="Reference image 1 scored"):
        inspector.self_test(References(images, (found.score * 1.01,), (False,)))
    with pytest.raises(SelfTestError, match="anomalous"):
        inspector.self_test(References(images, (found.score,), (True,)))


def test_another_backbone_or_format_is_refused(inspector: Inspector) -> None:
    data = save(inspector, render(1, 5)[0], "1")

    def other_weights(name: str, *, layers: tuple[str, ...]) -> Backbone:
        backbone = load_backbone(name, layers=layers)
        backbone.digest = "f" * 64
        return backbone

    with pytest.raises(ArtefactError, match=f"{inspector.embedding.backbone.digest}; here is {'f' * 64}"):
        load(data, other_weights)
    with pytest.raises(ArtefactError, match="does not have: A backbone has the layers"):
        load(rewrite(data, lambda d: d["backbone"].update(layers=["layer9"])), load_backbone)
    with pytest.raises(ArtefactError, match="format version 2; here is 4"):
        load(rewrite(data, lambda d: d.update(format_version=2)), load_backbone)


def test_damaged_artefacts_are_refused(inspector: Inspector) -> None:
    data = save(inspector, render(1, 5)[0], "1")
    for damaged in (b"", b"PK\3\4", data[:40], data[:-100]):
        with pytest.raises(ArtefactError, match=r"damaged|not a Vigil"):
            load(damaged, load_backbone)
    for key in ("detector", "calibration", "references", "backbone"):
        with pytest.raises(ArtefactError, match="damaged"):
            load(rewrite(data, lambda d, key=key: d.pop(key)), load_backbone)


def test_training_without_anomalies_or_masks(embedding: Embedding, patches: Tensor) -> None:
    phases: list[tuple[str, float]] = []
    recipe, normals = Recipe(coreset_ratio=0.05), Normals.whole(patches, 0)
    inspector = fit_inspector(embedding, recipe, normals, patches[:0], None, {}, SIZE, lambda *p: phases.append(p))
    assert [p for p in phases if p[0] == "calibrating"] == [("calibrating", (f + 1) / 5) for f in range(5)]
    assert inspector.discriminator is None
    assert phases[-1] == ("fitting", 1.0)
    found = inspector.inspect(torch.cat((render(4, 5)[0], render(4, 6, spot=True)[0])))
    assert [i.is_anomalous for i in found] == [False] * 4 + [True] * 4
    assert all(i.label_map is None for i in found)


def test_two_normal_images_are_the_least(embedding: Embedding) -> None:
    few = embedding.embed_all([render(2, 1)[0]], 2)
    made = fit_inspector(embedding, Recipe(), Normals.whole(few, 0), few[:0], None, {}, SIZE, unused)
    assert made.calibration.threshold > 0
    with pytest.raises(ValueError, match="at least two normal images, not 1"):
        Normals.whole(few[:1], 0)
