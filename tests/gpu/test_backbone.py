"""Backbones by name, and weights that are what they claim to be."""

import hashlib
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from texture import SHARED

from gpu.backbone import Backbone, backbone_names, load_backbone, resolve_backbone
from gpu.vigil_network import CHANNELS, VigilNetwork
from gpu.weights import WeightsError, file_name, find_weights, load_weights


@pytest.fixture(scope="module")
def resnet18() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(torchvision.models.resnet18().state_dict())


def test_the_packaged_backbone_needs_no_directory(backbone: Backbone) -> None:
    assert resolve_backbone("auto", None) == "vigil-s"
    packaged = find_weights("vigil-s", None)
    assert packaged is not None
    assert backbone.digest == hashlib.sha256(packaged.read_bytes()).hexdigest()
    maps = backbone(torch.zeros(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [(2, 48, 16, 24), (2, 96, 8, 12), (2, 160, 4, 6)]
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())


def test_a_backbone_computes_what_torchvision_does(tmp_path: Path, resnet18: dict[str, torch.Tensor]) -> None:
    torch.save(resnet18, tmp_path / "resnet18.pth")
    network = torchvision.models.resnet18().eval()
    network.load_state_dict(resnet18)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        second = network.layer2(network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(x))))))
        third = network.layer3(second)
    found = load_backbone("resnet18", tmp_path)(x)
    torch.testing.assert_close(found, [second, third], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in backbone_names() if name not in CHANNELS])
def test_every_architecture_builds_cut_after_its_last_layer(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = torchvision.models.get_model(name).state_dict()
    state = {k: torch.zeros(v.shape) for k, v in shapes.items() if not k.startswith(("layer4.", "fc."))}
    save_file(state, tmp_path / f"{name}-of-ours.safetensors")
    backbone = load_backbone(name, tmp_path)
    assert backbone.layers == ("layer2", "layer3")
    assert [m.shape[2:] for m in backbone(torch.zeros(1, 3, 64, 64))] == [(8, 8), (4, 4)]
    shallow = load_backbone(name, tmp_path, layers=("layer1",))
    assert sum(p.numel() for p in shallow.parameters()) < sum(p.numel() for p in backbone.parameters())


@pytest.mark.parametrize("name", [name for name in backbone_names() if name not in CHANNELS])
def test_every_architecture_is_torchvisions(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, x = torchvision.models.get_model(name).eval(), torch.randn(1, 3, 64, 96)
    save_file(network.state_dict(), tmp_path / f"{name}.safetensors")
    with torch.no_grad():
        second = network.layer2(network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(x))))))
        expected = [second, network.layer3(second)]
    torch.testing.assert_close(load_backbone(name, tmp_path)(x), expected, rtol=1e-3, atol=1e-3)
    assert torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].url.endswith("/" + file_name(name))


def test_auto_prefers_the_large_backbone_where_its_weights_are(tmp_path: Path) -> None:
    assert resolve_backbone("auto", tmp_path) == "vigil-s"
    (tmp_path / file_name("wide_resnet50_2")).touch()
    assert resolve_backbone("auto", tmp_path) == "wide_resnet50_2"


def test_weights_are_found_by_their_own_name(tmp_path: Path) -> None:
    for other in ("wide_resnet18-1.pth", "resnet18-notes.txt", "resnet180.pth", "resnet18x-1.pth"):
        (tmp_path / other).touch()
    assert find_weights("resnet18", tmp_path) is None
    assert find_weights("resnet18", tmp_path / "absent") is None
    for name in ("resnet18.safetensors", "resnet18-b.pth", "resnet18-a.safetensors", file_name("resnet18")):
        (tmp_path / name).touch()
        found = find_weights("resnet18", tmp_path)
        assert found is not None
    assert found.name == file_name("resnet18")


def test_a_wrong_digest_in_the_name_is_refused(tmp_path: Path, resnet18: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "resnet18-00000000.pth"
    torch.save(resnet18, path)
    with pytest.raises(WeightsError, match="damaged"):
        load_backbone("resnet18", tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert load_weights(path.rename(tmp_path / f"resnet18-{digest[:8]}.pth"))[1] == digest


def test_code_in_a_weights_file_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": Path}, tmp_path / "resnet18.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_backbone("resnet18", tmp_path)
    (tmp_path / "resnet18.pth").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_backbone("resnet18", tmp_path)


def test_anothers_weights_are_refused(tmp_path: Path, resnet18: dict[str, torch.Tensor]) -> None:
    torch.save(resnet18, tmp_path / "resnet34.pth")
    with pytest.raises(WeightsError, match="not those of resnet34"):
        load_backbone("resnet34", tmp_path)
    torch.save(resnet18, tmp_path / "resnet50.pth")
    with pytest.raises(WeightsError, match="not those of resnet50"):
        load_backbone("resnet50", tmp_path)


def test_missing_weights_say_which_file_to_bring(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"wide_resnet50_2-95faca4d\.pth"):
        load_backbone("wide_resnet50_2", tmp_path)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ValueError, match="there are auto, vigil-s"):
        load_backbone("alexnet")
    with pytest.raises(ValueError, match="layer4"):
        load_backbone("vigil-s", layers=("layer4",))


def test_the_development_weights_load() -> None:
    folder = SHARED / "weights"
    if find_weights("resnet18", folder) is None:
        pytest.skip(f"no ResNet-18 weights in {folder}")
    assert load_backbone("resnet18", folder).digest.startswith("a6a01fd2")


@pytest.mark.parametrize("name", CHANNELS)
def test_a_networks_stages_can_be_rescaled(name: str) -> None:
    torch.manual_seed(0)
    network = VigilNetwork(CHANNELS[name])
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias)
        torch.nn.init.uniform_(norm.running_var, 0.5, 1.5)
    images, gains = torch.randn(2, 3, 64, 64), (0.5, 3.0, 7.0)
    with torch.no_grad():
        before = network.eval()(images)
        network.rescale(gains)
        for old, new, gain in zip(before, network(images), gains, strict=True):
            torch.testing.assert_close(new, old * gain, rtol=1e-4, atol=1e-4)
