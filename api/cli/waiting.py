"""Waiting for the service: until a data set or a model has left its passing status."""

import re
import time
from collections.abc import Callable

from rich.progress import Progress, TaskID

from api.cli.client import Client, DatasetState, ModelState
from api.cli.terminal import CommandError

_POLL_SECONDS = 0.3
_PERCENT = re.compile(r"(?P<phase>[^.,]*),?\s+(?P<percent>\d{1,3})\s?%")


def await_dataset(client: Client, project: str, type_: str) -> DatasetState:
    """Wait until the data set can be used again. Raises CommandError with its message where the change failed."""
    while (state := client.dataset(project, type_)).status.endswith("_IN_PROGRESS"):
        time.sleep(_POLL_SECONDS)
    if "FAILED" in state.status:
        raise CommandError(f"The {type_} data set of project '{project}' is {state.status}: {state.message}")
    return state


def await_model(client: Client, project: str, version: str, passing: str, progress: Progress) -> ModelState:
    """Wait while the model is in the status `passing`; the phase and percentage of its message move a bar."""
    task = progress.add_task(f"{project} version {version}", total=100)
    while (state := client.model(project, version)).status == passing:
        _show(progress, task, state.message)
        time.sleep(_POLL_SECONDS)
    if state.status.endswith("_FAILED"):
        progress.stop_task(task)
        raise CommandError(f"Version {version} of project '{project}' is {state.status}: {state.message}")
    progress.update(task, completed=100)
    return state


def await_all(check: Callable[[], bool], seconds: float) -> bool:
    """Wait until `check` says yes, for so many seconds at most. → its last answer"""
    deadline = time.monotonic() + seconds
    while not (done := check()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return done


def _show(progress: Progress, task: TaskID, message: str) -> None:
    if found := _PERCENT.search(message):
        phase = found["phase"].strip()
        progress.update(task, description=phase or message, total=100, completed=int(found["percent"]))
    else:
        # No figure to show: a bar without an end.
        progress.update(task, description=message, total=None)
