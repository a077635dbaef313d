"""The training loop of the project's backbones: any number of students on the same crops, interrupted at any time."""

import copy
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import AdamW

from gpu.backbone import STAGES
from gpu.patch_embedding import STRIDE, to_grid
from gpu.pretraining.objectives import Objective
from gpu.vigil_network import CHANNELS, VigilNetwork

_RATE = 2e-3  # the highest learning rate, for 24 crops a batch; reached after the warm-up, followed by half a cosine
_REFINING_RATE = 1e-3
_WARM_UP, _REFINING_WARM_UP = 200, 100  # steps
_KEEP_SECONDS = 120  # between two checkpoints
_CALIBRATION = 16  # batches from which the scale of the stages is taken
_SMOOTHING = 0.02  # of the reported losses
_CHECKPOINT = "checkpoint.safetensors"


class PlanMismatch(Exception):
    """The folder holds an unfinished training of another plan; the message says which and what to do."""


@dataclass(frozen=True)
class Plan:
    """All that decides what comes out. `images` are rendered, `batch` counts crops of 128 pixels.

    The last `refining` of all `steps` begin with a warm-up anew and weigh what is learned as a distance weighs it.
    """

    students: tuple[str, ...]
    teachers: tuple[str, ...]  # none: the students learn from agreement alone
    seed: int
    images: int
    batch: int
    steps: int
    refining: int


@dataclass(frozen=True)
class Moment:
    """How far a training is: steps done of all, crops seen, seconds spent, each student's smoothed losses."""

    step: int
    crops: int
    seconds: float
    losses: Mapping[str, list[float]]


class _Student:
    """A network that learns, what stands on it meanwhile, and their optimiser."""

    def __init__(self, name: str, objective: Objective, plan: Plan, device: torch.device) -> None:
        self.name = name
        torch.manual_seed(plan.seed)
        self.network = VigilNetwork(CHANNELS[name])
        self.head = objective.head(CHANNELS[name])
        self.both = nn.ModuleDict({"network": self.network, "head": self.head})
        self.both.to(device).to(memory_format=torch.channels_last)
        decayed = [p for p in self.both.parameters() if p.ndim > 1]
        others = [p for p in self.both.parameters() if p.ndim <= 1]
        groups = [{"params": decayed, "weight_decay": 1e-4}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = AdamW(groups, lr=0.0, fused=device.type == "cuda")
        self.losses = torch.zeros(len(STAGES), device=device)

    def learn(
        self, objective: Objective, crops: Tensor, wanted: list[Tensor], rate: float, *, refining: bool, first: bool
    ) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        with torch.autocast(crops.device.type, torch.bfloat16):
            losses = objective.losses(self.head, self.network(crops), wanted, refining=refining)
        self.optimiser.zero_grad()
        torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        with torch.no_grad():
            self.losses.lerp_(torch.stack(losses), 1.0 if first else _SMOOTHING)

    def state(self) -> dict[str, Tensor]:
        tensors = {f"{self.name}/{key}": value for key, value in self.both.state_dict().items()}
        for number, moments in self.optimiser.state_dict()["state"].items():
            tensors |= {f"{self.name}/optimiser/{number}/{key}": value for key, value in moments.items()}
        return tensors | {f"{self.name}/losses": self.losses}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        own = {
            key.removeprefix(f"{self.name}/"): value
            for key, value in tensors.items()
            if key.startswith(self.name + "/")
        }
        self.losses.copy_(own.pop("losses"))
        moments: dict[int, dict[str, Tensor]] = {}
        for key in [key for key in own if key.startswith("optimiser/")]:
            _, number, name = key.split("/")
            moments.setdefault(int(number), {})[name] = own.pop(key)
        self.both.load_state_dict(own)
        groups = self.optimiser.state_dict()["param_groups"]
        self.optimiser.load_state_dict({"state": moments, "param_groups": groups})


class Pretrainer:
    """One training in a folder. Where the folder holds its checkpoint, it goes on from there."""

    def __init__(self, plan: Plan, objective: Objective, folder: Path, device: torch.device) -> None:
        """Raises PlanMismatch where the folder's checkpoint is another plan's."""
        self.plan = plan
        self._objective, self._checkpoint = objective, folder / _CHECKPOINT
        self._students = [_Student(name, objective, plan, device) for name in plan.students]
        self._step, self._crops, self._seconds = 0, 0, 0.0
        if self._checkpoint.exists():
            self._resume()

    @property
    def moment(self) -> Moment:
        """How far it is."""
        losses = {student.name: student.losses.tolist() for student in self._students}
        return Moment(self._step, self._crops, self._seconds, losses)

    def run(self, report: Callable[[Moment], None], every: int = 100) -> None:
        """Train to the end of the plan; `report` is called every so many steps and at the end."""
        kept = started = time.monotonic()
        before = self._seconds
        while self._step < self.plan.steps:
            self.advance()
            clock = time.monotonic()
            self._seconds = before + clock - started
            if self._step % every == 0 or self._step == self.plan.steps:
                report(self.moment)
            if clock - kept > _KEEP_SECONDS or self._step == self.plan.steps:
                self.keep()
                kept = clock

    def advance(self) -> None:
        """One step: the batch of this number, for every student."""
        with torch.no_grad():
            crops, wanted = self._objective.batch(self._step)
        before = self.plan.steps - self.plan.refining
        refining = self._step >= before
        if refining:
            rate = _rate(_REFINING_RATE, self._step - before, self.plan.refining, _REFINING_WARM_UP)
        else:
            rate = _rate(_RATE, self._step, before, _WARM_UP)
        first = self._step in (0, before)
        for student in self._students:
            student.learn(self._objective, crops, wanted, rate, refining=refining, first=first)
        self._step += 1
        self._crops += len(crops)

    def keep(self) -> None:
        """Write the checkpoint; a half-written one never has its name."""
        tensors = {key: value for student in self._students for key, value in student.state().items()}
        where = {"plan": asdict(self.plan), "step": self._step, "crops": self._crops, "seconds": self._seconds}
        _write(self._checkpoint, tensors, {"pretraining": json.dumps(where)})

    @torch.no_grad()
    def weights(self, name: str) -> dict[str, Tensor]:
        """A student's network in half precision.

        The patch embeddings of its stages, averaged to one grid, have a root mean square deviation of 1 over crops: no
        stage outweighs the others in a distance.
        """
        student = next(student for student in self._students if student.name == name)
        network = copy.deepcopy(student.network).eval()
        self._objective.finish(network)
        pooled: list[list[Tensor]] = [[] for _ in STAGES]
        for number in range(_CALIBRATION):
            crops, _ = self._objective.batch(number)
            grid = crops.shape[2] // STRIDE, crops.shape[3] // STRIDE
            for stage, feature_map in zip(pooled, network(crops), strict=True):
                stage.append(to_grid(feature_map, grid).permute(0, 2, 3, 1).flatten(0, 2))
        spreads = [float((rows - rows.mean(0)).square().sum(1).mean().sqrt()) for rows in map(torch.cat, pooled)]
        network.rescale([1 / spread for spread in spreads])
        return {
            key: value.half().cpu().contiguous()
            for key, value in network.state_dict().items()
            if not key.endswith("num_batches_tracked")
        }

    def _resume(self) -> None:
        with safe_open(self._checkpoint, "pt") as file:
            where = _where(file)
            found = json.loads(json.dumps(asdict(self.plan)))
            if where["plan"] != found:
                changed = [key for key, value in where["plan"].items() if value != found.get(key)]
                raise PlanMismatch(
                    f"{self._checkpoint} is of another plan: it differs in {', '.join(changed)}. Go on with the plan "
                    "it began with, name another folder, or delete the file to begin anew."
                )
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        for student in self._students:
            student.restore(tensors)
        self._step, self._crops, self._seconds = where["step"], where["crops"], where["seconds"]


def _rate(highest: float, step: int, steps: int, warm_up: int) -> float:
    warm = min(1.0, (step + 1) / warm_up)
    return highest * warm * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-6


def kept_steps(folder: Path) -> int | None:
    """The steps of the unfinished training in the folder, None where there is none."""
    checkpoint = folder / _CHECKPOINT
    if not checkpoint.exists():
        return None
    with safe_open(checkpoint, "pt") as file:
        return int(_where(file)["plan"]["steps"])


def _where(checkpoint: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(checkpoint.metadata()["pretraining"])
    return found


def code_version() -> str:
    """A digest of all that takes part: this package, the network and the normalisation of its input."""
    here = Path(__file__).parent
    files = [*sorted(here.glob("*.py")), here.parent / "vigil_network.py", here.parent / "images.py"]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def save_weights(path: Path, tensors: Mapping[str, Tensor], provenance: Mapping[str, str]) -> None:
    """Write a backbone's weights with where they come from in the header."""
    _write(path, dict(tensors), dict(provenance))


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    unfinished = path.with_suffix(".unfinished")
    save_file({key: value.contiguous() for key, value in tensors.items()}, unfinished, header)
    os.replace(unfinished, path)
