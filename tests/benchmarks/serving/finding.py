"""What one part of the benchmark found, and the file that keeps the findings of all runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Requirement:
    """What was required, what was found, and whether that is enough."""

    what: str
    required: str
    found: str
    met: bool


@dataclass(frozen=True)
class Finding:
    """Of one part: how it was measured, in words, its table, and what was required of it."""

    measured: str
    conditions: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    requirements: Sequence[Requirement]


class Findings:
    """The newest finding of each part, by its name, in a JSON file: parts are measured in runs of their own."""

    def __init__(self, file: Path) -> None:
        self._file = file
        stored = json.loads(file.read_text()) if file.exists() else {}
        self.parts = {name: _finding(content) for name, content in stored.items()}

    def keep(self, name: str, finding: Finding) -> None:
        """Put a finding in the place of an older one of the part."""
        self.parts[name] = finding
        content = {part: asdict(kept) for part, kept in self.parts.items()}
        self._file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _finding(content: Mapping[str, object]) -> Finding:
    requirements = [Requirement(**entry) for entry in content["requirements"]]  # type: ignore[attr-defined]
    return Finding(**{**content, "requirements": requirements})  # type: ignore[arg-type]
