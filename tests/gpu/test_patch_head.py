"""What masks teach about single patches, and how far that may go."""

import torch
from texture import SIZE, render
from torch import Tensor

from gpu.artefact import load, save
from gpu.backbone import load_backbone
from gpu.calibration import Calibration
from gpu.inspection import Inspector
from gpu.patch_embedding import Embedding
from gpu.patch_head import PatchHead
from gpu.patchcore import PatchCore

GRID = (6, 8)
DEPTH = 10


def plant(n: int, m: int, apart: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Normal images, images with one odd patch, masks of it, and scores that tell nothing."""
    random = torch.Generator().manual_seed(seed)
    normals, anomalies = (torch.randn(k, *GRID, DEPTH, generator=random) for k in (n, m))
    masks = torch.zeros(m, GRID[0] * 8, GRID[1] * 8, dtype=torch.uint8)
    for image in range(m):
        row, column = image % GRID[0], image % GRID[1]
        anomalies[image, row, column] += apart
        masks[image, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 1
    low, high = (5 + torch.rand(k, *GRID, generator=random) for k in (n, m))
    return normals, anomalies, masks, (low, high)


def order(normal: Tensor, anomalous: Tensor) -> float:
    largest = [scores.flatten(1).amax(1) for scores in (normal, anomalous)]
    return float((largest[1].unsqueeze(1) > largest[0]).double().mean())


def test_known_defects_are_raised_over_normal_patches() -> None:
    normals, anomalies, masks, scores = plant(60, 20, 4.0)
    shown = PatchHead.fit(normals, anomalies, masks, scores, torch.ones(80))
    assert shown is not None
    head, *factors = shown
    assert min(float(part.min()) for part in factors) == 1
    assert order(scores[0] * factors[0], scores[1] * factors[1]) > 0.95 > order(*scores)
    raised = (factors[0] > 1).flatten(1).any(dim=1)
    assert float(raised.double().mean()) < 0.1, "what differs as normal images do is left as it is"
    fresh, odd, place, _ = plant(10, 10, 4.0, seed=1)
    found = head.factor(odd).flatten(1)
    marked = place.reshape(10, GRID[0], 8, GRID[1], 8).amax(dim=(2, 4)).flatten(1)
    assert int((found.argmax(1) == marked.argmax(1)).sum()) >= 9
    assert float((head.factor(fresh) == 1).double().mean()) > 0.9


def test_masks_that_teach_nothing_are_not_used() -> None:
    normals, anomalies, masks, (low, high) = plant(60, 20, 0.0)
    assert PatchHead.fit(normals, anomalies, masks, (low, high + 9), torch.ones(80)) is None
    assert PatchHead.fit(normals, anomalies, torch.zeros_like(masks), (low, high), torch.ones(80)) is None


def test_a_head_adds_to_what_the_whole_image_tells_or_is_not_kept() -> None:
    normals, anomalies, masks, scores = plant(60, 20, 4.0)
    known = torch.cat((torch.ones(60), torch.full((20,), 50.0)))
    assert PatchHead.fit(normals, anomalies, masks, scores, torch.ones(80)) is not None
    assert PatchHead.fit(normals, anomalies, masks, scores, known) is None


def test_the_head_is_stored_and_scores_the_same(embedding: Embedding, patches: Tensor) -> None:
    images, masks = render(6, 2, spot=True)
    anomalies = embedding.embed_all([images], 6)
    flat = torch.ones(len(patches), *patches.shape[1:3]), torch.ones(6, *patches.shape[1:3])
    shown = PatchHead.fit(patches, anomalies, masks, flat, torch.ones(len(patches) + 6))
    assert shown is not None
    detector = PatchCore(0.05)
    detector.fit(patches)
    plain = Inspector(embedding, detector, Calibration(5, 8, 5), SIZE)
    helped = Inspector(embedding, detector, Calibration(5, 8, 5), SIZE, patch_head=shown[0])
    loaded, _ = load(save(helped, images[:2], "1"), load_backbone)
    assert loaded.self_test() == 0
    unseen = torch.cat((render(4, 5)[0], render(4, 6, spot=True)[0]))
    before, now, again = (inspector.inspect(unseen) for inspector in (plain, helped, loaded))
    assert [i.score for i in now] == [i.score for i in again]
    assert all(bool((a.anomaly_map >= b.anomaly_map - 1e-4).all()) for a, b in zip(now, before, strict=True))
    gains = [a.score / b.score for a, b in zip(now, before, strict=True)]
    assert min(gains[4:]) > max(gains[:4]) >= 1
