"""Waiting for the service: until a data set or a model has left its passing status."""

import re
import time
from collections.abc import Callable

from rich.progress import Progress

from api.cli.client import Client, DatasetState, ModelState
from api.cli.terminal import CommandError

_POLL_SECONDS = 0.3
_DOING = {"TRAINING": "Training", "STARTING_HOSTING": "Starting", "STOPPING_HOSTING": "Stopping"}
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
    doing = f"{_DOING[passing]} {project}/{version}"
    task = progress.add_task(doing, total=None)
    while (state := client.model(project, version)).status == passing:
        if found := _PERCENT.search(state.message):
            # Not 100 before the end: a bar that was full once stops its clock.
            completed = min(int(found["percent"]), 99)
            progress.update(task, description=f"{doing}: {found['phase'].strip()}", total=100, completed=completed)
        time.sleep(_POLL_SECONDS)
    if state.status.endswith("_FAILED"):
        progress.stop_task(task)
        raise CommandError(f"Version {version} of project '{project}' is {state.status}: {state.message}")
    progress.update(task, description=doing, total=100, completed=100)
    return state


def await_all(check: Callable[[], bool], seconds: float) -> bool:
    """Wait until `check` says yes, for so many seconds at most. → its last answer"""
    deadline = time.monotonic() + seconds
    while not (done := check()) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    return done
