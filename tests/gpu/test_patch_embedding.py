"""Patch embeddings, anomaly maps, and the device they are made on."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from texture import SIZE, render
from torch.nn import functional

from gpu.anomaly_map import anomaly_map, image_scores
from gpu.backbone import Backbone, load_backbone
from gpu.device import deterministic, select_device
from gpu.images import normalise
from gpu.patch_embedding import Embedding


def test_one_patch_per_eight_pixels(embedding: Embedding) -> None:
    found = embedding.embed(render(2, 0)[0])
    assert found.shape == (2, SIZE[0] // 8, SIZE[1] // 8, 48 + 96 + 160)
    assert found.dtype == torch.float32


def test_the_middle_layer_is_averaged_over_its_neighbours(backbone: Backbone, embedding: Embedding) -> None:
    image = render(1, 0)[0]
    second = backbone(normalise(image))[1]
    found = embedding.embed(image)[0, 4, 5, 48 : 48 + 96]
    torch.testing.assert_close(found, second[0, :, 3:6, 4:7].mean((1, 2)))


def test_a_batch_embeds_as_its_images_one_by_one(embedding: Embedding) -> None:
    images = render(5, 0)[0]
    together = embedding.embed(images)
    apart = torch.cat([embedding.embed(image.unsqueeze(0)) for image in images])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


def test_layers_are_chosen_by_name() -> None:
    shallow = load_backbone("vigil-s", layers=("layer2",))
    assert Embedding(shallow).embed(render(1, 0)[0]).shape[3] == 96


def test_all_batches_fill_one_buffer(embedding: Embedding) -> None:
    images = render(5, 0)[0]
    found = embedding.embed_all(torch.split(images, 2), 5)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), embedding.embed(images), rtol=1e-3, atol=1e-5)
    for count in (4, 6):
        with pytest.raises(ValueError, match=str(count)):
            embedding.embed_all(torch.split(images, 2), count)


def test_an_anomaly_map_is_upsampled_and_blurred() -> None:
    scores = torch.rand(2, 12, 16, generator=torch.Generator().manual_seed(0))
    upsampled = functional.interpolate(scores.unsqueeze(1).double(), SIZE, mode="bilinear").squeeze(1)
    expected = np.stack([ndimage.gaussian_filter(one, 4) for one in upsampled.numpy()])
    np.testing.assert_allclose(anomaly_map(scores, SIZE), expected, rtol=1e-5)


def test_an_image_scores_the_peak_of_its_map() -> None:
    scores = torch.rand(70, 12, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(image_scores(scores, SIZE), anomaly_map(scores, SIZE).amax(dim=(1, 2)))
    one, two = torch.zeros(12, 16), torch.zeros(12, 16)
    one[5, 5] = two[5, 5] = two[5, 6] = 1.0
    alone, beside = image_scores(torch.stack((one, two)), SIZE).tolist()
    assert 0.3 < alone < beside < 1


def test_an_even_map_stays_even() -> None:
    torch.testing.assert_close(anomaly_map(torch.full((1, 8, 8), 3.0), (64, 64)), torch.full((1, 64, 64), 3.0))


def test_determinism_is_switched_on_and_restored() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    drawn = []
    for _ in range(2):
        with deterministic(3):
            assert torch.are_deterministic_algorithms_enabled()
            drawn.append((float(torch.rand(1)), np.random.rand()))
    assert drawn[0] == drawn[1]
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_the_device_is_a_gpu_where_there_is_one() -> None:
    assert select_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_embeds_as_the_cpu_does(embedding: Embedding) -> None:
    images = render(3, 0)[0]
    on_gpu = load_backbone("vigil-s", device=select_device())
    torch.testing.assert_close(Embedding(on_gpu).embed(images).cpu(), embedding.embed(images), rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="GPU 99"):
        select_device(99)
