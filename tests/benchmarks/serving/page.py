"""The measured part of docs/serving.md."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.benchmarks.page import rewrite, table
from tests.benchmarks.serving.finding import Finding

MARK = "<!-- measured: everything below is written by make bench-serving -->"


def write_page(page: Path, titles: Mapping[str, str], findings: Mapping[str, Finding]) -> None:
    """Rewrite the page below the mark: every part that was measured, under its title and in the order of the titles."""
    there = [(titles[name], findings[name]) for name in titles if name in findings]
    rewrite(page, MARK, "# Serving", [_summary(there), *(_part(title, finding) for title, finding in there)])


def _summary(there: Sequence[tuple[str, Finding]]) -> str:
    rows = [
        (title, requirement.what, requirement.required, requirement.found, "yes" if requirement.met else "**no**")
        for title, finding in there
        for requirement in finding.requirements
    ]
    return table(("part", "figure", "required", "measured", "met"), rows)


def _part(title: str, finding: Finding) -> str:
    about = f"Measured on {finding.measured}. {finding.conditions}"
    return f"### {title}\n\n{about}\n\n{table(finding.head, finding.rows)}"
