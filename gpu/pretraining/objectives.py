"""What a student learns from: teachers' feature maps, or nothing but its own agreement over two views."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from gpu.backbone import STAGES, Backbone
from gpu.pretraining.crops import Crops
from gpu.vigil_network import Channels, VigilNetwork

_CALIBRATION = 16  # batches from which the scale of the teachers' channels is taken
TARGETS = (64, 128, 256)  # channels that are learned of each stage: those of ResNet-18
_SMALLEST = 1e-3  # deviation by which a channel is divided: one that hardly ever answers is not blown up


class Objective(Protocol):
    """A supply of crops and a measure of what a student makes of them."""

    def head(self, channels: Channels) -> nn.ModuleList:
        """What stands on a student's maps while it learns, and is thrown away afterwards."""
        ...

    def batch(self, number: int) -> tuple[Tensor, list[Tensor]]:
        """Crops (B, 3, h, w) for the student and what it is measured against."""
        ...

    def losses(
        self, head: nn.ModuleList, maps: list[Tensor], wanted: list[Tensor], /, *, refining: bool
    ) -> list[Tensor]:
        """One loss a stage for the student's maps of that batch; their sum is minimised.

        `refining` is true in the last part of a training.
        """
        ...

    def finish(self, network: VigilNetwork) -> None:
        """Bring the maps of a student that has learned to the scale and centre in which distances are to be taken."""
        ...


class Imitation:
    """The student's maps, or linear ones of them, are to equal the teachers'.

    Each channel is standardised, so that all are learned; while refining, each counts as much as its variance, as it
    does in a distance. The loss is the share of variance that is not explained. Where the teachers have other numbers
    of channels than ResNet-18, as many principal components of all of them together are learned.
    """

    def __init__(self, teachers: Sequence[Backbone], crops: Crops) -> None:
        self._teachers, self._crops = teachers, crops
        samples = [self._raw(crops.batch(number)) for number in range(_CALIBRATION)]
        stages = [_flat([sample[stage] for sample in samples]) for stage in range(len(STAGES))]
        self._bases = [_basis(rows, width) for rows, width in zip(stages, TARGETS, strict=True)]
        turned = [rows if basis is None else rows @ basis for rows, basis in zip(stages, self._bases, strict=True)]
        self._centres = [rows.mean(0) for rows in turned]
        self._scales = [rows.std(0).clamp_min(_SMALLEST) for rows in turned]

    def head(self, channels: Channels) -> nn.ModuleList:
        if channels.outputs is not None:
            return nn.ModuleList(nn.Identity() for _ in channels.outputs)
        return nn.ModuleList(nn.Conv2d(width, wanted, 1) for width, wanted in zip(channels.maps, TARGETS, strict=True))

    def batch(self, number: int) -> tuple[Tensor, list[Tensor]]:
        crops = self._crops.batch(number)
        found = []
        for stage, basis, centre, scale in zip(self._raw(crops), self._bases, self._centres, self._scales, strict=True):
            channels = stage.float() if basis is None else torch.einsum("bchw,cd->bdhw", stage.float(), basis)
            found.append((channels - _channels(centre)) / _channels(scale))
        return crops, found

    def losses(
        self, head: nn.ModuleList, maps: list[Tensor], wanted: list[Tensor], /, *, refining: bool
    ) -> list[Tensor]:
        found = []
        for linear, m, w, scale in zip(head, maps, wanted, self._scales, strict=True):
            errors = (linear(m).float() - w).square()
            weights = _channels(scale.square() / scale.square().mean())
            found.append((errors * weights).mean() if refining else errors.mean())
        return found

    @torch.no_grad()
    def finish(self, network: VigilNetwork) -> None:
        for output, scale, centre in zip(network.outputs.values(), self._scales, self._centres, strict=False):
            output.get_parameter("weight").mul_(scale.view(-1, 1, 1, 1))
            output.get_parameter("bias").mul_(scale).add_(centre)

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

    def head(self, channels: Channels) -> nn.ModuleList:
        return nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, _EXPANDED, 1),
                nn.BatchNorm2d(_EXPANDED),
                nn.ReLU(),
                nn.Conv2d(_EXPANDED, _EXPANDED, 1),
            )
            for width in channels.maps
        )

    def batch(self, number: int) -> tuple[Tensor, list[Tensor]]:
        return torch.cat([self._crops.batch(number, exposure) for exposure in (0, 1)]), []

    def losses(
        self,
        head: nn.ModuleList,
        maps: list[Tensor],
        _wanted: list[Tensor],
        /,
        *,
        refining: bool,  # noqa: ARG002
    ) -> list[Tensor]:
        return [self._loss(expander(m).float()) for expander, m in zip(head, maps, strict=True)]

    def finish(self, network: VigilNetwork) -> None:
        """Nothing: its maps have no other measure."""

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


def _channels(values: Tensor) -> Tensor:
    return values.view(1, -1, 1, 1)


def _basis(rows: Tensor, width: int) -> Tensor | None:
    """(C, width): the principal components of rows (n, C); None where there are that many channels anyway.

    Raises ValueError where there are fewer.
    """
    if rows.shape[1] == width:
        return None
    if rows.shape[1] < width:
        raise ValueError(f"a teacher's stage has {rows.shape[1]} channels; at least {width} are needed")
    components: Tensor = torch.linalg.eigh(rows.T.double().cov()).eigenvectors
    return components[:, -width:].float()


def _flat(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, D, h, w) → (all positions, D), float32."""
    return torch.cat([m.permute(0, 2, 3, 1).reshape(-1, m.shape[1]).float() for m in maps])
