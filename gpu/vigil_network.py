"""The project's own architecture: a residual network of three stages at strides 4, 8 and 16."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

WIDTHS = {"vigil-s": (48, 96, 160), "vigil-m": (64, 160, 352)}  # channels of the three stages


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
        _scale_norm(self.bn2, gain)
        for module in self.shortcut.children():
            if isinstance(module, nn.Conv2d):
                module.weight.div_(before)
            elif isinstance(module, nn.BatchNorm2d):
                _scale_norm(module, gain)


class VigilNetwork(nn.Module):
    """Images (B, 3, H, W), normalised → feature maps of the three stages; widths are their channels.

    gpu/pretrained/README.md tells where its weights come from.
    """

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        first, second, third = self.widths = widths
        self.stem = nn.Sequential(
            nn.Conv2d(3, first, 7, 2, 3, bias=False),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, 1),
        )
        self.layer1 = nn.Sequential(_Block(first, first), _Block(first, first))
        self.layer2 = nn.Sequential(_Block(first, second, 2), _Block(second, second))
        self.layer3 = nn.Sequential(_Block(second, third, 2), _Block(third, third))

    def forward(self, images: Tensor) -> list[Tensor]:
        first = self.layer1(self.stem(images))
        second = self.layer2(first)
        return [first, second, self.layer3(second)]

    @torch.no_grad()
    def rescale(self, gains: Sequence[float]) -> None:
        """Multiply the maps of the three stages by these gains, for good, and change nothing else.

        All between two batch normalisations is homogeneous, so a gain goes into one and out of the weights that follow.
        """
        before = gains[0]
        for module in self.stem.children():
            if isinstance(module, nn.BatchNorm2d):
                _scale_norm(module, before)
        for stage, gain in zip((self.layer1, self.layer2, self.layer3), gains, strict=True):
            for block in stage.children():
                if isinstance(block, _Block):
                    block.rescale(before, gain)
                    before = gain


def _scale_norm(norm: nn.BatchNorm2d, gain: float) -> None:
    norm.weight.mul_(gain)
    norm.bias.mul_(gain)
