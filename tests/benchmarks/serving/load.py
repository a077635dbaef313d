"""What a load generator is to send, the process that sends it, and what became of it."""

import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

_ROOT = Path(__file__).parents[3]
_SECONDS_MORE = 90.0  # for what is on its way at the end


@dataclass(frozen=True)
class Load:
    """Images in turn to an address: `rate` a second, whether answers come or not, or from `clients` that wait for them.

    Arrivals at a rate are evenly spaced, or Poisson's by the seed. `paths`: the first, until the generator is told to
    move on. `key`: access key id and secret, None for a service that wants no signature.
    """

    address: tuple[str, int]
    paths: tuple[str, ...]
    images: tuple[str, ...]
    seconds: float
    clients: int = 1
    rate: float | None = None
    poisson: bool = True
    seed: int = 0
    requests: int = 1_000_000
    key: tuple[str, str] | None = None
    region: str = "us-east-1"

    def __post_init__(self) -> None:
        if not 1 <= self.clients <= 64:
            raise ValueError("clients are 1 to 64")

    @classmethod
    def parse(cls, text: str) -> "Load":
        """From JSON."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(text).items()})


class Row(NamedTuple):
    """One request: when it was due and when its answer had come (s), its status (0: none), and the replica's times."""

    due: float
    ended: float
    status: int
    queue: float
    decode: float
    score: float


@dataclass(frozen=True)
class Outcome:
    """The requests of a load in the order of their ends. Latency counts from the moment at which a request was due."""

    rows: Sequence[Row]
    began: float
    generator_cpu: float

    @property
    def answered(self) -> list[Row]:
        """Those that got a decision."""
        return [row for row in self.rows if row.status == 200]

    @property
    def statuses(self) -> dict[int, int]:
        """How many requests ended with which status."""
        return dict(sorted(Counter(row.status for row in self.rows).items()))

    @property
    def failed(self) -> int:
        """Requests that got no decision."""
        return len(self.rows) - len(self.answered)

    def rate(self, warm: float = 0.0) -> float:
        """Decisions a second, from the moment `warm` to the last moment at which a request was due."""
        end = max((row.due for row in self.rows), default=0.0)
        return sum(warm < row.ended <= end for row in self.answered) / max(end - warm, 1e-9)

    def percentile(self, percent: float, begin: float = 0.0, end: float = float("inf")) -> float:
        """Of the latency of the decisions that were due in this time (s)."""
        found = [row.ended - row.due for row in self.answered if begin <= row.due < end]
        return float(np.percentile(found, percent)) if found else float("nan")

    def overheads(self, warm: float = 0.0) -> list[float]:
        """What each decision took beyond the replica's own waiting, decoding and scoring (s)."""
        return [row.ended - row.due - row.queue - row.decode - row.score for row in self.answered if row.due >= warm]


class Running:
    """A load on its way, as a context; `outcome()` waits for its end."""

    def __init__(self, load: Load) -> None:
        self._load = load

    def __enter__(self) -> "Running":
        self._folder = tempfile.TemporaryDirectory(prefix="vigil-load-")
        job, self._answer = (Path(self._folder.name) / name for name in ("job.json", "answer.json"))
        job.write_text(json.dumps(asdict(self._load)))
        module = "tests.benchmarks.serving.generator"
        self._process = subprocess.Popen([sys.executable, "-m", module, job, self._answer], cwd=_ROOT)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._folder.cleanup()

    def move(self) -> None:
        """Go on with the next of the paths."""
        self._process.send_signal(signal.SIGUSR1)

    def end(self) -> None:
        """Send no more."""
        self._process.send_signal(signal.SIGTERM)

    def running(self) -> bool:
        """Whether it still sends, or waits for answers."""
        return self._process.poll() is None

    def outcome(self) -> Outcome:
        """Wait for the end. Raises CalledProcessError where the generator failed."""
        status = self._process.wait(self._load.seconds + _SECONDS_MORE)
        if status:
            raise subprocess.CalledProcessError(status, "generator")
        told = json.loads(self._answer.read_text())
        return Outcome([Row(*row) for row in told["rows"]], told["began"], told["cpu"])


def run(load: Load) -> Outcome:
    """Send a load and wait for its end."""
    with Running(load) as running:
        return running.outcome()
