"""The pulse of a process without a port: a file that is touched as long as the work goes round."""

from storage.settings import Settings


class Pulse:
    """`pulse/NAME` in the data directory. Whoever watches the process, such as a container's health check, reads its
    age: it is touched every `heartbeat_seconds`, and one older than `lease_seconds` means that nothing moves.
    """

    def __init__(self, settings: Settings, name: str) -> None:
        self._file = settings.data_dir / "pulse" / name
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._file.unlink(missing_ok=True)  # that of a process that runs no more

    def beat(self) -> None:
        """Say that this process does its work."""
        self._file.touch()
