"""The training of backbones: it learns, an interruption leaves no trace, and its weights say where they come from."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torchvision
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from gpu.backbone import STAGES, Backbone, read_backbone
from gpu.pretraining.__main__ import app
from gpu.pretraining.crops import Crops
from gpu.pretraining.objectives import Agreement, Imitation, Objective
from gpu.pretraining.pretrainer import Moment, Plan, PlanMismatch, Pretrainer, kept_steps
from gpu.vigil_network import CHANNELS, VigilNetwork

CPU = torch.device("cpu")
PLAN = Plan(("vigil-s",), ("resnet18",), seed=1, images=6, batch=2, steps=6, refining=2)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the weights of a ResNet-18 that has learned nothing."""
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("weights")
    save_file(torchvision.models.resnet18().state_dict(), folder / "resnet18.safetensors")
    return folder


@pytest.fixture(scope="module")
def teacher(weights: Path) -> Backbone:
    return read_backbone("resnet18", weights / "resnet18.safetensors", layers=STAGES)


@pytest.fixture(scope="module")
def imitation(images: npt.NDArray[np.uint8], teacher: Backbone) -> Imitation:
    return Imitation([teacher], Crops(images, 1, PLAN.batch, CPU))


def test_an_interruption_leaves_no_trace(imitation: Imitation, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    straight = Pretrainer(PLAN, imitation, tmp_path / "a", CPU)
    straight.run(lambda _: None)
    first = Pretrainer(PLAN, imitation, tmp_path / "b", CPU)
    for _ in range(2):
        first.advance()
    first.keep()
    first.advance()  # lost: it came after the checkpoint
    assert kept_steps(tmp_path / "b") == PLAN.steps
    second = Pretrainer(PLAN, imitation, tmp_path / "b", CPU)
    assert second.moment.step == 2
    second.run(lambda _: None)
    assert second.moment.crops == straight.moment.crops
    assert second.moment.losses == straight.moment.losses
    found, expected = second.weights("vigil-s"), straight.weights("vigil-s")
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_an_ended_training_is_not_done_again(imitation: Imitation, tmp_path: Path) -> None:
    Pretrainer(PLAN, imitation, tmp_path, CPU).run(lambda _: None)
    ended = Pretrainer(PLAN, imitation, tmp_path, CPU)
    ended.run(lambda _: pytest.fail("nothing was left to do"))
    assert ended.moment.step == PLAN.steps


def test_another_plan_is_refused(imitation: Imitation, tmp_path: Path) -> None:
    Pretrainer(PLAN, imitation, tmp_path, CPU).keep()
    with pytest.raises(PlanMismatch, match="differs in images, steps"):
        Pretrainer(replace(PLAN, images=7, steps=9), imitation, tmp_path, CPU)


@pytest.mark.parametrize("kind", ["imitation", "agreement"])
def test_the_loss_falls(kind: str, teacher: Backbone, images: npt.NDArray[np.uint8], tmp_path: Path) -> None:
    crops = Crops(images, 1, 4, CPU)
    objective: Objective = Imitation([teacher], crops) if kind == "imitation" else Agreement(crops)
    pretrainer, seen = (
        Pretrainer(replace(PLAN, batch=4, steps=30, refining=0), objective, tmp_path, CPU),
        list[Moment](),
    )
    pretrainer.run(seen.append, every=10)
    first, *_, last = (sum(moment.losses["vigil-s"]) for moment in seen)
    assert last < first


def distances(objective: Imitation) -> list[Tensor]:
    """Between positions of the maps that a perfect student would have, stage by stage."""
    network = VigilNetwork(CHANNELS["vigil-m"])
    for output in network.outputs.values():
        torch.nn.init.ones_(output.get_parameter("weight"))
    objective.finish(network)
    scales = [output.get_parameter("weight")[:, 0] for output in network.outputs.values()]
    found = zip(objective.batch(0)[1], scales, strict=True)
    return [torch.pdist((stage * scale).permute(0, 2, 3, 1).flatten(0, 2)[:200]) for stage, scale in found]


def test_several_teachers_are_joined(teacher: Backbone, images: npt.NDArray[np.uint8]) -> None:
    alone, both = (Imitation([teacher] * count, Crops(images, 1, PLAN.batch, CPU)) for count in (1, 2))
    for objective in (alone, both):
        wanted = objective.batch(0)[1]
        assert [stage.shape[1] for stage in wanted] == [64, 128, 256]
        power = [float(stage.square().mean()) for stage in wanted]
        assert power == pytest.approx([1, 1, 1], abs=0.9)  # the scale is that of many batches, this is one
    for one, two in zip(distances(alone), distances(both), strict=True):
        torch.testing.assert_close(two, one * 2**0.5, rtol=0.02, atol=1e-3)


def test_the_command_makes_files_that_say_where_they_come_from(weights: Path, tmp_path: Path) -> None:
    call = ["--folder", str(tmp_path), "--weights", str(weights), "--images", "2", "--batch", "2", "--minutes", "0.001"]
    made = CliRunner().invoke(app, call)
    assert made.exit_code == 0, made.output
    for name in ("vigil-s", "vigil-m"):
        path = tmp_path / f"{name}.safetensors"
        assert path.stat().st_size < 12e6
        maps = read_backbone(name, path)(torch.zeros(1, 3, 64, 96))
        assert [tuple(m.shape[2:]) for m in maps] == [(16, 24), (8, 12), (4, 6)]
        with safe_open(path, "np") as file:
            header = file.metadata()
        plan, teachers = json.loads(header["plan"]), json.loads(header["teachers"])
        assert header["name"] == name
        assert len(header["code"]) == 64
        assert (plan["seed"], plan["images"]) == (0, 2)
        assert int(header["crops"]) >= plan["steps"] >= 1
        assert teachers[0]["name"] == "resnet18"
        assert teachers[0]["sha256"] == read_backbone("resnet18", weights / "resnet18.safetensors").digest
        assert len(json.loads(header["losses"])) == 3
    lines = (tmp_path / "losses.csv").read_text().splitlines()
    assert lines[-1].split(",")[0] == str(plan["steps"])
    other = CliRunner().invoke(app, [*call, "--seed", "1"])
    assert other.exit_code == 2
    assert "another plan" in other.output


def test_missing_teachers_are_named(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["--folder", str(tmp_path), "--weights", str(tmp_path)])
    assert refused.exit_code == 2
    assert "resnet18" in refused.output
