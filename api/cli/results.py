"""The file that `vigil detect --output` writes: CSV or JSON Lines, one line an image, gone on with where it ended."""

import csv
import fcntl
import io
import json
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from api.cli.outcomes import Outcome
from api.cli.terminal import CommandError

_COLUMNS = ("Image", "Model", "IsAnomalous", "Confidence", "Anomalies", "Error")
_ENDINGS = (".csv", ".jsonl")


class Results:
    """The decisions of one model. `done` are the places of the images that the file has already.

    A line that was cut off when a run was killed is removed. Raises CommandError for a file of another kind or with
    another model's decisions, and while another run writes it.
    """

    def __init__(self, path: Path, model: str) -> None:
        if path.suffix.lower() not in _ENDINGS:
            raise CommandError(f"{path}: the name of the results must end in {' or '.join(_ENDINGS)}.")
        self._path, self._model, self._csv = path, model, path.suffix.lower() == ".csv"
        self._start = _row(_COLUMNS) if self._csv else b'{"Model": '
        self.done: set[str] = set()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            self._lock()
            self._go_on()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()

    def add(self, outcome: Outcome) -> None:
        """Write the line of an image; a run that is killed afterwards does not lose it."""
        self._write(self._row(outcome) if self._csv else _line({"Model": self._model, **json_of(outcome)}))

    def _lock(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise CommandError(f"{self._path} is being written by another `vigil detect`; wait for its end.") from None

    def _go_on(self) -> None:
        self._file.seek(0)
        if not self._start.startswith(self._file.read(len(self._start))):
            raise CommandError(f"{self._path} was not written by `vigil detect`; name another file.")
        self._file.seek(0)
        end = 0
        for number, line in enumerate(self._file, start=1):
            if not line.endswith(b"\n"):
                break
            end += len(line)
            if number > 1 or not self._csv:
                self.done.add(self._image_of(line, number))
        self._file.truncate(end)
        if self._csv and not end:
            self._write(self._start)

    def _image_of(self, line: bytes, number: int) -> str:
        try:
            text = line.decode(errors="surrogateescape")
            record: dict[str, Any]
            record = dict(zip(_COLUMNS, next(csv.reader([text])), strict=True)) if self._csv else json.loads(text)
            image, model = record["Image"], record["Model"]
        except (ValueError, KeyError, TypeError, StopIteration, csv.Error):
            raise CommandError(f"{self._path}: line {number} was not written by `vigil detect`; remove it.") from None
        if model != self._model:
            raise CommandError(f"{self._path} has results of the model {model}; name another file for {self._model}.")
        return str(image)

    def _row(self, outcome: Outcome) -> bytes:
        found = outcome.detection
        values = ("", "", "")
        if found is not None:
            areas = " ".join(f"{name}={area:.6f}" for name, area in found.areas)
            values = (str(found.is_anomalous).lower(), str(found.confidence), areas)
        return _row((outcome.picture.place, self._model, *values, outcome.problem))

    def _write(self, line: bytes) -> None:
        self._file.write(line)
        self._file.flush()


def json_of(outcome: Outcome) -> dict[str, object]:
    """The image's place with DetectAnomalyResult and the explanation that was asked for, or with the Error."""
    if outcome.detection is None:
        return {"Image": outcome.picture.place, "Error": outcome.problem}
    regions = outcome.detection.regions
    explanation = {} if regions is None else {"Explanation": {"Regions": regions}}
    return {"Image": outcome.picture.place, **outcome.detection.result, **explanation}


def _row(values: tuple[str, ...]) -> bytes:
    """One line always, or nobody could tell whether the last one is complete."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow([value.replace("\n", " ").replace("\r", " ") for value in values])
    return text.getvalue().encode(errors="surrogateescape")


def _line(record: dict[str, object]) -> bytes:
    return f"{json.dumps(record, ensure_ascii=False)}\n".encode(errors="surrogateescape")
