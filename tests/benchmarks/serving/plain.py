"""What Vigil is held against: anomalib behind FastAPI, and the engine of a replica without any HTTP."""

import asyncio
import itertools
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil
import torch
from safetensors.torch import save_file

from gpu import artefact
from gpu.backbone import load_backbone
from gpu.device import select_device
from gpu.images import decode, resize
from inference.batcher import Batcher
from inference.engine import Engine
from tests.benchmarks.photographs import LIMITS
from tests.benchmarks.serving.load import Load
from tests.conftest import free_port

_PROGRAM = Path(__file__).parents[1] / "anomalib_server.py"
_TRAINING_SECONDS = 3600.0
WAYS = {"one by one": "/one-by-one", "in FastAPI's threads": "/threads"}


@dataclass(frozen=True)
class Anomalib:
    """anomalib's PatchCore behind FastAPI, running; `bank` is how many patches it remembers."""

    port: int
    process: psutil.Process
    bank: int

    def load(self, way: str, images: Sequence[Path], seconds: float, clients: int, **more: int) -> Load:
        """Images for one of the WAYS in which its handler can call the model."""
        return Load(("127.0.0.1", self.port), (WAYS[way],), tuple(map(str, images)), seconds, clients, **more)  # type: ignore[arg-type]


@contextmanager
def running_anomalib(
    python: Path, weights: Path, ratio: float, normal: Sequence[Path], size: tuple[int, int]
) -> Iterator[Anomalib]:
    """Trained on these photographs at this input size (H, W); stopped at the end."""
    with tempfile.TemporaryDirectory(prefix="anomalib-") as name:
        folder, port = Path(name), free_port()
        train = torch.stack([resize(decode(path.read_bytes(), LIMITS), size) for path in normal])
        save_file({"train": train}, folder / "images.safetensors")
        job = {"model": "patchcore", "weights": str(weights.absolute()), "coreset_ratio": ratio, "seed": 0}
        (folder / "job.json").write_text(json.dumps(job | {"port": port}))
        own = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "PYTHONWARNINGS": "ignore"}
        # None of this project's packages is to be found in there.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | own
        process = subprocess.Popen([python, _PROGRAM, folder], env=environment, cwd=folder)
        try:
            bank = _bank(process, port)
            yield Anomalib(port, psutil.Process(process.pid), bank)
        finally:
            process.terminate()
            process.wait(30)


def _bank(process: "subprocess.Popen[bytes]", port: int) -> int:
    deadline = time.monotonic() + _TRAINING_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"anomalib's server ended with status {process.returncode}")
        try:
            bank: int = httpx.get(f"http://127.0.0.1:{port}/about", timeout=2, trust_env=False).json()["bank"]
        except httpx.TransportError:
            time.sleep(0.2)
        else:
            return bank
    raise TimeoutError("anomalib's server did not start")


class Bare:
    """A replica's engine and batcher in this process: decode, score, answer, and nothing between."""

    def __init__(self, data: bytes, weights: Path | None) -> None:
        threads = os.cpu_count() or 1
        torch.set_num_threads(1)
        inspector, _ = artefact.load(data, partial(load_backbone, weights_directory=weights), select_device())
        self.input_size = inspector.input_size
        self.bank = len(inspector.detector.state()["bank"])
        self._batcher = Batcher(Engine(inspector, LIMITS, threads=threads), 64, threads)
        self._batcher.engine.self_test()

    def rate(self, images: Sequence[Path], seconds: float, clients: int) -> tuple[float, float]:
        """Images a second, and CPU seconds an image, with so many at once."""
        bodies = [path.read_bytes() for path in images]
        before = time.process_time()
        done, took = asyncio.run(self._ask(itertools.cycle(bodies), seconds, clients))
        return done / took, (time.process_time() - before) / done

    async def _ask(self, bodies: Iterator[bytes], seconds: float, clients: int) -> tuple[int, float]:
        began, done = time.monotonic(), 0

        async def one_after_another() -> None:
            nonlocal done
            while time.monotonic() - began < seconds:
                with self._batcher.admission():
                    await self._batcher.detect(next(bodies))
                done += 1

        await asyncio.gather(*(one_after_another() for _ in range(clients)))
        return done, time.monotonic() - began
