"""The project's own architecture: a residual network of three stages at strides 4, 8 and 16."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Channels:
    """Of the three stages, and of the maps that come out of them where those are linear ones of the stages."""

    stages: tuple[int, int, int]
    outputs: tuple[int, int, int] | None = None

    @property
    def maps(self) -> tuple[int, int, int]:
        """Channels of the maps that a network gives."""
        return self.outputs or self.stages


CHANNELS = {
    "vigil-s": Channels((48, 96, 160)),
    "vigil-m": Channels((64, 160, 352), (64, 128, 256)),
}


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)
        self.conv2, self.bn2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False), nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_()))
        return torch.relu_(y + self.shortcut(x))

    def rescale(self, before: float, gain: float) -> None:
        """Take an input that was multiplied by `before`, give an output multiplied by `gain`; equal for an identity."""
        self.conv1.weight.div_(before)
        _scale(self.bn2, gain)
        for module in self.shortcut.children():
            if isinstance(module, nn.Conv2d):
                module.weight.div_(before)
            elif isinstance(module, nn.BatchNorm2d):
                _scale(module, gain)


class VigilNetwork(nn.Module):
    """Images (B, 3, H, W), normalised → feature maps of the three stages.

    gpu/pretrained/README.md tells where its weights come from.
    """

    def __init__(self, channels: Channels) -> None:
        super().__init__()
        first, second, third = channels.stages
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 7, 2, 3, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        self.layer1 = nn.Sequential(_Block(first, first), _Block(first, first))
        self.layer2 = nn.Sequential(_Block(first, second, 2), _Block(second, second))
        self.layer3 = nn.Sequential(_Block(second, third, 2), _Block(third, third))
        self.outputs = nn.ModuleDict()
        if channels.outputs is not None:
            for number, (width, output) in enumerate(zip(channels.stages, channels.outputs, strict=True), 1):
                self.outputs[f"layer{number}"] = nn.Conv2d(width, output, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        first = self.layer1(self.stem(images))
        second = self.layer2(first)
        stages = {"layer1": first, "layer2": second, "layer3": self.layer3(second)}
        return [self.outputs[name](stage) if name in self.outputs else stage for name, stage in stages.items()]

    @torch.no_grad()
    def rescale(self, gains: Sequence[float]) -> None:
        """Multiply the maps of the three stages by these gains, for good, and change nothing else.

        All between two batch normalisations is homogeneous, so a gain goes into one and out of the weights that follow.
        """
        if self.outputs:
            for output, gain in zip(self.outputs.values(), gains, strict=True):
                _scale(output, gain)
            return
        before = gains[0]
        for module in self.stem.children():
            if isinstance(module, nn.BatchNorm2d):
                _scale(module, before)
        for stage, gain in zip((self.layer1, self.layer2, self.layer3), gains, strict=True):
            for block in stage.children():
                if isinstance(block, _Block):
                    block.rescale(before, gain)
                    before = gain


def _scale(module: nn.Module, gain: float) -> None:
    module.get_parameter("weight").mul_(gain)
    module.get_parameter("bias").mul_(gain)
