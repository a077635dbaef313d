"""What one part of the benchmark found, and the file that keeps the findings of all runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.benchmarks.page import table


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
        self.parts = {name: restored(content) for name, content in stored.items()}

    def keep(self, name: str, finding: Finding) -> None:
        """Put a finding in the place of an older one of the part."""
        self.parts[name] = finding
        content = {part: asdict(kept) for part, kept in self.parts.items()}
        self._file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def summary(there: Sequence[tuple[str, Finding]]) -> str:
    """What was required, and what was found, of all the (title, finding)."""
    rows = [
        (title, requirement.what, requirement.required, requirement.found, "yes" if requirement.met else "**no**")
        for title, finding in there
        for requirement in finding.requirements
    ]
    return table(("part", "figure", "required", "measured", "met"), rows)


def section(title: str, finding: Finding) -> str:
    """One finding under its title."""
    about = f"Measured on {finding.measured}. {finding.conditions}"
    return f"### {title}\n\n{about}\n\n{table(finding.head, finding.rows)}"


def restored(content: Mapping[str, object]) -> Finding:
    """What asdict made of a finding."""
    requirements = [Requirement(**entry) for entry in content["requirements"]]  # type: ignore[attr-defined]
    return Finding(**{**content, "requirements": requirements})  # type: ignore[arg-type]
