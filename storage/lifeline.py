"""Children of the service: started by module name, and gone with their parent, even one killed with -9."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

_CHECK_SECONDS = 0.5
_PARENT = "VIGIL_PARENT"


def spawn(
    module: str, arguments: Sequence[str] = (), environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start `python -m module` as a child in a process group of its own, so that Ctrl-C reaches the parent only."""
    return subprocess.Popen(  # noqa: S603 - our own modules, no shell
        [sys.executable, "-m", module, *arguments],
        env={**os.environ, **(environment or {}), _PARENT: str(os.getpid())},
        start_new_session=True,
    )


def die_with_parent(parent: int | None = None) -> None:
    """Watch the parent from a thread and leave at once when it is gone. Call first thing in a child.

    `parent` is the process to watch; default the one that called `spawn`. Without either, nothing is watched.
    """
    watched = parent or int(os.environ.get(_PARENT, "0"))
    if watched:
        threading.Thread(target=_watch, args=(watched,), name="lifeline", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_CHECK_SECONDS)
    os._exit(1)
