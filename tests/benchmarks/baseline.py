"""anomalib's detectors on the same photographs, in a process of the environment that `make bench-quality` makes."""

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import load_file, save_file

from tests.benchmarks.arrangement import Arrangement, prepared
from tests.benchmarks.verdicts import Verdicts

MODELS = ("patchcore", "padim")
_PROGRAM = Path(__file__).with_name("anomalib_program.py")


class Baseline:
    """anomalib in the environment of `python`, with the ResNet-18 whose weights are in a file.

    `coreset_ratio` is PatchCore's; None is anomalib's own.
    """

    def __init__(self, python: Path, weights: Path, coreset_ratio: float | None = None) -> None:
        self._python, self._weights, self._ratio = python, weights, coreset_ratio
        self.versions: dict[str, str] = {}

    def run(
        self, model: str, arrangement: Arrangement, counts: Sequence[int], size: tuple[int, int], seed: int
    ) -> dict[int, Verdicts]:
        """Train once on the good photographs, and judge with the threshold of each number of labelled anomalies.

        Raises CalledProcessError; what the program says is on stderr.
        """
        with tempfile.TemporaryDirectory(prefix="anomalib-") as name:
            folder = Path(name)
            images = {
                "train": prepared(arrangement.train, size),
                "labelled": prepared(arrangement.labelled, size),
                "test": prepared(arrangement.test, size),
            }
            save_file(images, folder / "images.safetensors")
            job = {
                "model": model,
                "weights": str(self._weights.absolute()),
                "counts": list(counts),
                "coreset_ratio": self._ratio,
                "seed": seed,
            }
            (folder / "job.json").write_text(json.dumps(job))
            subprocess.run([self._python, _PROGRAM, folder], check=True, env=baseline_environment(), cwd=folder)
            answer, told = load_file(folder / "answer.safetensors"), json.loads((folder / "answer.json").read_text())
        self.versions = {"anomalib": f"{told['anomalib']} on torch {told['torch']}"}
        scores = answer["scores"].tolist()
        return {
            count: Verdicts(
                scores,
                [score > threshold for score in scores],
                threshold,
                list(answer["maps"]),
                told["train_seconds"],
                size,
            )
            for count, threshold in zip(counts, answer["thresholds"].tolist(), strict=True)
        }


def baseline_environment() -> dict[str, str]:
    """The variables with which anomalib's programs run; none of this project's packages is to be found in there."""
    own = {
        # Its selection of patches pins a piece of the heap for each; mapped pieces are given back.
        "MALLOC_MMAP_THRESHOLD_": "4194304",
        "HF_HUB_OFFLINE": "1",
        "TQDM_DISABLE": "1",
        "PYTHONWARNINGS": "ignore",
    }
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own
