"""What the commands write to: results go to stdout, progress and messages to stderr."""

from contextlib import suppress

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

# Names of files and projects are shown as they are: a bracket in one is no markup.
out = Console(markup=False, highlight=False)
err = Console(markup=False, highlight=False, stderr=True)


class CommandError(Exception):
    """Something the user can put right; the message says what is wrong, where, and what to do."""


def say(message: str) -> None:
    """A line about what happens, on stderr."""
    with suppress(OSError):  # a full disk under the log does not end the service
        err.print(message, soft_wrap=True)


def progress() -> Progress:
    """A progress bar on stderr: what is done, how far it is, and for how long."""
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
    return Progress(*columns, TimeElapsedColumn(), console=err)
