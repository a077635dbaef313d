"""Children of the service: started by module name, and gone with their parent, even one killed with -9.

A program that is not ours is started as `python -m storage.lifeline PROGRAM ARGUMENT…`, which becomes that program.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence

_CHECK_SECONDS = 0.5
_PARENT = "VIGIL_PARENT"
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


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


def become(program: str, arguments: Sequence[str]) -> None:
    """Go on as another program, which Linux kills with the process that called `spawn`. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
        raise OSError(ctypes.get_errno(), "the kernel refuses to end a child with its parent")
    if os.getppid() != int(os.environ[_PARENT]):
        os._exit(1)  # the parent went before the kernel was told
    os.execv(program, [program, *arguments])  # noqa: S606 - no shell is wanted


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_CHECK_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    become(sys.argv[1], sys.argv[2:])
