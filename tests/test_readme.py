"""The README's tables against the code: every operation and every setting has its row, and no row is left over."""

import re
from pathlib import Path

from pydantic_core import PydanticUndefined

from api.app import OPERATION_MODULES
from api.operation import OPERATIONS
from storage.settings import Settings

README = (Path(__file__).parents[1] / "README.md").read_text()


def operation_rows() -> list[str]:
    assert OPERATION_MODULES
    rows = []
    for name, operation in OPERATIONS.items():
        summary = (operation.handler.__doc__ or "").split("\n\n")[0].strip().replace("\n", " ")
        path = operation.path.replace(":path", "")
        rows.append(f"| {name} | {operation.method} `{path}` | {re.sub(r' +', ' ', summary)} |")
    return rows


def setting_rows() -> list[str]:
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined) else f"`{field.default}`"
        rows.append(f"| `VIGIL_{name.upper()}` | {default} | {field.description} |")
    return rows


def test_every_operation_has_its_row() -> None:
    assert sorted(operation_rows()) == sorted(line for line in README.splitlines() if " `/2020-11-20" in line)


def test_every_setting_has_its_row() -> None:
    assert setting_rows() == [line for line in README.splitlines() if line.startswith("| `VIGIL_")]


def test_every_named_file_is_there() -> None:
    root = Path(__file__).parents[1]
    named = re.findall(r"\]\(([^)#:]+)\)", README)
    assert named
    assert [path for path in named if not (root / path).exists()] == []
