"""What every part of the benchmark is given: the data, the weights, the baseline, a folder to work in, and sizes."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks.datasets import DataSet
from tests.benchmarks.speed.enlarged import Enlarged, enlarge


@dataclass(frozen=True)
class Scale:
    """How much is measured; the defaults are what the report is to be made with."""

    rounds: int = 3  # Vigil and the baseline take turns so often
    selection_images: int = 160
    baseline_picks: int = 60
    compared_picks: int = 3000
    training_images: int = 90
    test_images: int = 150
    scored_images: int = 96
    side: int = 1024
    bases: int = 60
    volume_images: int = 10_000
    paired_images: int = 4_000
    growth_images: tuple[int, ...] = (50, 150, 500, 1500, 5000)
    rendered_tests: int = 40  # good ones, and as many bad ones
    points: int = 163_856


@dataclass
class Context:
    """`anomalib` is the Python of its environment, None where only Vigil is measured. `size` is the network's input."""

    data: DataSet
    weights: Path
    weights_file: Path
    anomalib: Path | None
    work: Path
    scale: Scale
    size: int = 256
    models: dict[str, Path] = field(default_factory=dict)  # what a training has left for the scoring
    _enlarged: Enlarged | None = None

    def enlarged(self) -> Enlarged:
        """The photographs of the training and the scoring, made once."""
        if self._enlarged is None:
            scale = self.scale
            self._enlarged = enlarge(
                self.data, self.work / "enlarged", scale.training_images, scale.test_images, scale.side
            )
        return self._enlarged
