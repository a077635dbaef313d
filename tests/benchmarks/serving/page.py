"""The measured part of docs/serving.md."""

from collections.abc import Mapping
from pathlib import Path

from tests.benchmarks.finding import Finding, section, summary
from tests.benchmarks.page import rewrite

MARK = "<!-- measured: everything below is written by make bench-serving -->"


def write_page(page: Path, titles: Mapping[str, str], findings: Mapping[str, Finding]) -> None:
    """Rewrite the page below the mark: every part that was measured, under its title and in the order of the titles."""
    there = [(titles[name], findings[name]) for name in titles if name in findings]
    rewrite(page, MARK, "# Serving", [summary(there), *(section(title, finding) for title, finding in there)])
