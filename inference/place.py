"""Which unit a replica process fills: what the host tells it on the command line, and how its end answers."""

import argparse
from dataclasses import dataclass

UNUSABLE = 78  # exit status of a replica: this model cannot be served here, however often it is tried


@dataclass(frozen=True)
class Place:
    """A unit on a host, the id of the replica that fills it, and the CPU threads it may use."""

    project: str
    version: int
    slot: int
    host: str
    replica: str
    threads: int

    def arguments(self) -> list[str]:
        """As the command line that parse() reads."""
        return [f"--{name}={value}" for name, value in vars(self).items()]

    @classmethod
    def parse(cls) -> "Place":
        """Read the command line."""
        parser = argparse.ArgumentParser(prog="inference.replica")
        for name in ("project", "host", "replica"):
            parser.add_argument(f"--{name}", required=True)
        for name in ("version", "slot", "threads"):
            parser.add_argument(f"--{name}", required=True, type=int)
        return cls(**vars(parser.parse_args()))

    def holds(self, project: str, version: int, slot: int) -> bool:
        """Whether this is the place of that unit."""
        return (self.project, self.version, self.slot) == (project, version, slot)
