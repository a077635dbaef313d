"""Backbones by name: frozen networks, cut after the last layer that is used."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gpu.resnet import ResNet
from gpu.vigil_network import CHANNELS, VigilNetwork
from gpu.weights import WeightsError, download_weights, file_name, find_weights, load_weights

_PREFERRED = "wide_resnet50_2"  # PatchCore's own choice of backbone
_SMALL, _MEDIUM = "vigil-s", "vigil-m"
STAGES = ("layer1", "layer2", "layer3")  # at strides 4, 8 and 16 in every architecture


@dataclass(frozen=True)
class _Architecture:
    build: Callable[[], nn.Module]
    stem: tuple[str, ...]  # the children before the first layer
    layers: tuple[str, ...]  # used unless the caller says otherwise


_RESNET_STEM = ("conv1", "bn1", "relu", "maxpool")
_MIDDLE = ("layer2", "layer3")  # PatchCore §4.1: neither too generic nor too close to ImageNet's classes
_ARCHITECTURES = {
    **{name: _Architecture(partial(VigilNetwork, of), ("stem",), STAGES) for name, of in CHANNELS.items()},
    "resnet18": _Architecture(partial(ResNet, (2, 2, 2)), _RESNET_STEM, _MIDDLE),
    "resnet34": _Architecture(partial(ResNet, (3, 4, 6)), _RESNET_STEM, _MIDDLE),
    "resnet50": _Architecture(partial(ResNet, (3, 4, 6), bottleneck=True), _RESNET_STEM, _MIDDLE),
    _PREFERRED: _Architecture(partial(ResNet, (3, 4, 6), bottleneck=True, widening=2), _RESNET_STEM, _MIDDLE),
}


class Backbone(nn.Module):
    """A frozen network: images (B, 3, H, W), normalised → feature maps of `layers`, first layer first.

    `digest` is the SHA-256 of the weights file in hex.
    """

    def __init__(
        self,
        name: str,
        digest: str,
        layers: tuple[str, ...],
        stem: nn.Module,
        stages: nn.ModuleDict,
        outputs: nn.ModuleDict,
    ) -> None:
        """`stages` and `outputs` may have more than the layers need. Raises ValueError for an unknown layer."""
        super().__init__()
        if set(layers) - set(STAGES):
            raise ValueError(f"A backbone has the layers {', '.join(STAGES)}; asked for were {', '.join(layers)}.")
        self.name, self.digest, self.layers = name, digest, layers
        deepest = max(STAGES.index(layer) for layer in layers)
        self.stem = stem
        self.stages = nn.ModuleDict({stage: stages[stage] for stage in STAGES[: deepest + 1]})
        self.outputs = nn.ModuleDict({layer: outputs[layer] for layer in layers if layer in outputs})
        self.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    def using(self, layers: tuple[str, ...]) -> "Backbone":
        """The same network, cut after the last of these layers, of which it must have all."""
        return Backbone(self.name, self.digest, layers, self.stem, self.stages, self.outputs)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @torch.no_grad()
    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = self.stem(images), {}
        for stage, network in self.stages.items():
            x = network(x)
            if stage in self.layers:
                maps[stage] = self.outputs[stage](x) if stage in self.outputs else x
        return [maps[layer] for layer in self.layers]


def backbone_names() -> tuple[str, ...]:
    """The names that load_backbone knows."""
    return tuple(_ARCHITECTURES)


def resolve_backbone(name: str, weights_directory: Path | None, device: torch.device | str = "cpu") -> str:
    """The name that "auto" means: wide_resnet50_2 where the directory has its weights, else one that comes with Vigil.

    That is vigil-m on CUDA, and on a CPU, where size costs time, vigil-s. Other names stay as they are.

    Raises ValueError for an unknown name.
    """
    if name == "auto":
        if find_weights(_PREFERRED, weights_directory):
            return _PREFERRED
        return _MEDIUM if torch.device(device).type == "cuda" else _SMALL
    if name not in _ARCHITECTURES:
        raise ValueError(f"There is no backbone {name!r}; there are auto, {', '.join(_ARCHITECTURES)}.")
    return name


def default_layers(name: str) -> tuple[str, ...]:
    """The layers that the backbone of that name gives unless others are asked for."""
    return _ARCHITECTURES[name].layers


def load_backbone(
    name: str,
    weights_directory: Path | None = None,
    *,
    allow_download: bool = False,
    device: torch.device | str = "cpu",
    layers: tuple[str, ...] | None = None,
) -> Backbone:
    """The backbone of that name ("auto" resolved) on the device, batch normalisation folded into the convolutions.

    Raises ValueError for an unknown name or layer, WeightsError where weights are missing, damaged or another's.
    """
    name = resolve_backbone(name, weights_directory, device)
    path = find_weights(name, weights_directory)
    if path is None and allow_download and weights_directory is not None:
        path = download_weights(name, weights_directory)
    if path is None:
        raise WeightsError(
            f"There are no weights for the backbone {name}. Put torchvision's file {file_name(name)} into "
            f"{weights_directory or 'a weights directory and name it'}, or use a backbone that comes with Vigil: "
            f"{_SMALL} or {_MEDIUM}."
        )
    return read_backbone(name, path, device=device, layers=layers)


def read_backbone(
    name: str, path: Path, *, device: torch.device | str = "cpu", layers: tuple[str, ...] | None = None
) -> Backbone:
    """The backbone of that name with the weights of this file. Raises as load_backbone does."""
    architecture = _ARCHITECTURES[name]
    state, digest = load_weights(path)
    with torch.device("meta"):  # allocates nothing: the tensors of the file become the parameters
        network = architecture.build()
    try:
        missing, _ = network.load_state_dict(state, strict=False, assign=True)
    except RuntimeError as error:
        raise WeightsError(f"The weights {path} are not those of {name}: {error}") from error
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    if missing:
        raise WeightsError(f"The weights {path} are not those of {name}: {len(missing)} missing, first {missing[0]}.")
    _fold(network.eval())
    stem = nn.Sequential(*(network.get_submodule(child) for child in architecture.stem))
    stages = nn.ModuleDict({stage: network.get_submodule(stage) for stage in STAGES})
    outputs = network.outputs if isinstance(network, VigilNetwork) else nn.ModuleDict()
    return Backbone(name, digest, layers or architecture.layers, stem, stages, outputs).to(device)


def _fold(module: nn.Module) -> None:
    """Fold each batch normalisation into the convolution it follows: the same function with half the passes."""
    before: tuple[str, nn.Module] = ("", module)
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d) and isinstance(before[1], nn.Conv2d):
            setattr(module, before[0], fuse_conv_bn_eval(before[1], child))
            setattr(module, name, nn.Identity())
        else:
            _fold(child)
        before = (name, child)
