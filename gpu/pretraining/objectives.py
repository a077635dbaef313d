"""What a student learns from: teachers' feature maps, or nothing but its own agreement over two views."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu.backbone import STAGES, Backbone
from gpu.pretraining.crops import Crops

_CALIBRATION = 16  # batches from which the scale of the teachers' channels is taken
_SMALLEST = 1e-3  # deviation by which a channel is divided: one that hardly ever answers is not blown up


class Objective(Protocol):
    """A supply of crops and a measure of what a student makes of them."""

    def head(self, widths: Sequence[int]) -> nn.ModuleList:
        """What stands on a student of these channels while it learns, and is thrown away afterwards."""
        ...

    def batch(self, number: int) -> tuple[Tensor, list[Tensor]]:
        """Crops (B, 3, h, w) for the student and what it is measured against."""
        ...

    def losses(self, head: nn.ModuleList, maps: list[Tensor], wanted: list[Tensor], /) -> list[Tensor]:
        """One loss a stage for the student's maps of that batch; their sum is minimised."""
        ...


class Imitation:
    """The student's maps, through one linear map a stage, are to equal the teachers'.

    Each channel of a teacher is standardised, so that all count the same; several teachers are concatenated. The loss
    is the share of variance that is not explained.
    """

    def __init__(self, teachers: Sequence[Backbone], crops: Crops) -> None:
        self._teachers, self._crops = teachers, crops
        samples = [self._raw(crops.batch(number)) for number in range(_CALIBRATION)]
        rows = [_flat([sample[stage] for sample in samples]) for stage in range(len(STAGES))]
        self._centres = [stage.mean(0).view(1, -1, 1, 1) for stage in rows]
        self._scales = [stage.std(0).clamp_min(_SMALLEST).view(1, -1, 1, 1) for stage in rows]

    def head(self, widths: Sequence[int]) -> nn.ModuleList:
        return nn.ModuleList(
            nn.Conv2d(width, centre.shape[1], 1) for width, centre in zip(widths, self._centres, strict=True)
        )

    def batch(self, number: int) -> tuple[Tensor, list[Tensor]]:
        crops = self._crops.batch(number)
        stages = zip(self._raw(crops), self._centres, self._scales, strict=True)
        return crops, [(stage.float() - centre) / scale for stage, centre, scale in stages]

    def losses(self, head: nn.ModuleList, maps: list[Tensor], wanted: list[Tensor], /) -> list[Tensor]:
        return [functional.mse_loss(linear(m).float(), w) for linear, m, w in zip(head, maps, wanted, strict=True)]

    def _raw(self, crops: Tensor) -> list[Tensor]:
        """One map a stage, the channels of all teachers."""
        with torch.autocast(crops.device.type, torch.bfloat16):
            found = [teacher(crops) for teacher in self._teachers]
        return [torch.cat(stage, dim=1) for stage in zip(*found, strict=True)]


class Agreement:
    """No teacher: two exposures of one crop are to have the same maps, whose channels vary and say different things.

    VICReg (Bardes, Ponce, LeCun 2022, §4) on positions of the maps instead of whole images.
    """

    def __init__(self, crops: Crops) -> None:
        self._crops = crops

    def head(self, widths: Sequence[int]) -> nn.ModuleList:
        return nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, _EXPANDED, 1),
                nn.BatchNorm2d(_EXPANDED),
                nn.ReLU(),
                nn.Conv2d(_EXPANDED, _EXPANDED, 1),
            )
            for width in widths
        )

    def batch(self, number: int) -> tuple[Tensor, list[Tensor]]:
        return torch.cat([self._crops.batch(number, exposure) for exposure in (0, 1)]), []

    def losses(self, head: nn.ModuleList, maps: list[Tensor], _wanted: list[Tensor], /) -> list[Tensor]:
        return [self._loss(expander(m).float()) for expander, m in zip(head, maps, strict=True)]

    @staticmethod
    def _loss(maps: Tensor) -> Tensor:
        rows = _flat([maps])
        one, other = rows.chunk(2)
        chosen = torch.linspace(0, len(one) - 1, min(len(one), _POSITIONS), device=maps.device).long()
        one, other = one[chosen], other[chosen]
        loss = 25 * functional.mse_loss(one, other)
        for view in (one, other):
            centred = view - view.mean(0)
            deviation = (centred.square().mean(0) + 1e-4).sqrt()
            covariance = centred.T @ centred / (len(view) - 1)
            off_diagonal = covariance - torch.diag(covariance.diagonal())
            loss = loss + 12.5 * functional.relu(1 - deviation).mean() + off_diagonal.square().sum() / view.shape[1] / 2
        return loss


_EXPANDED = 512  # channels between which the covariance is taken
_POSITIONS = 4096  # of each view whose channels are compared


def _flat(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, D, h, w) → (all positions, D), float32."""
    return torch.cat([m.permute(0, 2, 3, 1).reshape(-1, m.shape[1]).float() for m in maps])
