"""Residual networks (He et al., CVPR 2016), as torchvision names and numbers their parts, up to the third stage.

They are written out here because torchvision itself takes a second and 190 MB to import, in every trainer and replica.
"""

import torch
from torch import Tensor, nn

_WIDTHS = (64, 128, 256)  # of the three stages


class _Basic(nn.Module):
    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int, _inner: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        self.downsample = _shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_()))
        return torch.relu_(y + self.downsample(x))


class _Bottleneck(nn.Module):
    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int, inner: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1, self.bn1 = nn.Conv2d(inputs, inner, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = nn.Conv2d(inner, inner, 3, stride, 1, bias=False), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = nn.Conv2d(inner, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.downsample = _shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu_())).relu_()
        return torch.relu_(self.bn3(self.conv3(y)) + self.downsample(x))


class ResNet(nn.Module):
    """Stem and three stages of so many blocks each; `widening` is that of wide networks (Zagoruyko 2016)."""

    def __init__(self, blocks: tuple[int, int, int], *, bottleneck: bool = False, widening: int = 1) -> None:
        super().__init__()
        kind = _Bottleneck if bottleneck else _Basic
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.relu, self.maxpool = nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for number, (width, count) in enumerate(zip(_WIDTHS, blocks, strict=True), 1):
            outputs = width * kind.expansion
            strides = (1 if number == 1 else 2, *[1] * (count - 1))
            stage = []
            for stride in strides:
                stage.append(kind(inputs, width, stride, width * widening))
                inputs = outputs
            self.add_module(f"layer{number}", nn.Sequential(*stage))


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
