"""What the tests of gpu share: a backbone, and inspectors fitted on a rendered texture."""

import pytest
import torch
from texture import SIZE, render
from torch import Tensor

from gpu.backbone import Backbone, load_backbone
from gpu.fitting import Recipe, fit_inspector
from gpu.inspection import Inspector
from gpu.normals import Normals
from gpu.patch_embedding import Embedding


@pytest.fixture(scope="session")
def backbone() -> Backbone:
    return load_backbone("vigil-s")


@pytest.fixture(scope="session")
def embedding(backbone: Backbone) -> Embedding:
    return Embedding(backbone)


@pytest.fixture(scope="session")
def patches(embedding: Embedding) -> Tensor:
    """Patch embeddings (12, 12, 16, D) of normal images."""
    return embedding.embed_all(torch.split(render(12, 1)[0], 5), 12)


@pytest.fixture(scope="session", params=["patchcore", "padim", "ensemble"])
def inspector(request: pytest.FixtureRequest, embedding: Embedding, patches: Tensor) -> Inspector:
    images, masks = render(6, 2, spot=True)
    anomalies = embedding.embed_all([images], 6)
    recipe = Recipe(request.param, coreset_ratio=0.05)
    normals, labels = Normals.whole(patches, recipe.seed), {"spot": "#23A436"}
    return fit_inspector(embedding, recipe, normals, anomalies, masks, labels, SIZE, lambda *_: None)
