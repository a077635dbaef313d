"""A page of docs/ whose lower part a benchmark writes: below a mark, from what it measured."""

from collections.abc import Iterable, Sequence
from pathlib import Path


def rewrite(page: Path, mark: str, title: str, parts: Iterable[str]) -> None:
    """Replace all below the mark by the parts; what was written by hand above it stays. `title` heads a new page."""
    head = page.read_text().partition(mark)[0].rstrip() if page.exists() else title
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("\n\n".join([head, mark, *parts]).lstrip() + "\n")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown."""
    lines = (f"| {' | '.join(row)} |" for row in rows)
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *lines])
