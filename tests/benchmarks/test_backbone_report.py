"""The benchmark of backbones: every backbone and choice of layers has its row, and what a person wrote stays."""

from pathlib import Path

import torch
import torchvision
from safetensors.torch import save_file
from typer.testing import CliRunner

from api.cli.parts import write_parts
from gpu.weights import PACKAGED
from tests.benchmarks.backbone import MARK, SHEET, app


def test_the_report_is_written_below_its_mark(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    write_parts(tmp_path / "data" / "plates", seed=3, train=(6, 0), test=(3, 4))
    torch.manual_seed(0)
    save_file(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.safetensors")
    report = tmp_path / "backbone.md"
    report.write_text(f"# By hand\n\n{MARK}\n\nold\n")
    other = tmp_path / "seed-1.safetensors"
    other.write_bytes(PACKAGED["vigil-s"].read_bytes())
    folders = ["--data", str(tmp_path / "data"), "--weights", str(tmp_path), "--report", str(report)]
    options = ["--seeds", "2", "--size", "64", "--rounds", "1", "--again", f"vigil-s={other}"]
    done = CliRunner().invoke(app, [*folders, *options])
    assert done.exit_code == 0, done.output
    text = report.read_text()
    assert text.startswith(f"# By hand\n\n{MARK}\n")
    assert "old" not in text
    names = ["random ResNet-18", "ResNet-18", "vigil-s", "vigil-m", "vigil-s, seed-1"]
    rows = [line for line in text.splitlines() if " ± " in line and line.startswith("|")]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == [name for name in names for _ in range(2)]
    assert "| ResNet-18 | 2.78 M |" in text
    assert "as fast as ResNet-18" in text
    assert (tmp_path / SHEET).stat().st_size > 10_000
    assert not list(tmp_path.glob(".random*"))
