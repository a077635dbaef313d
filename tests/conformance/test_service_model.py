"""What `vigil service-model` writes, against AWS's service model: all of it but the documentation."""

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from api.operation import OPERATIONS
from tests.cli.conftest import vigil
from tests.conformance.aws import AWS, PACKAGING, PAGINATORS

OFFERED = sorted(set(AWS["operations"]) - PACKAGING)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "it's here"
    done = vigil("service-model", str(folder))
    assert done.returncode == 0, done.stderr
    assert shlex.split(done.stdout) == ["export", f"AWS_DATA_PATH={folder}"]
    return folder / "lookoutvision" / "2020-11-20"


@pytest.fixture(scope="module")
def ours(folder: Path) -> dict[str, Any]:
    model: dict[str, Any] = json.loads((folder / "service-2.json").read_text())
    return model


def test_metadata_and_operations(ours: dict[str, Any]) -> None:
    assert ours["version"] == AWS["version"]
    assert ours["metadata"] == AWS["metadata"]
    assert set(ours["operations"]) == set(OFFERED)


@pytest.mark.parametrize("name", OFFERED)
def test_operation(name: str, ours: dict[str, Any]) -> None:
    mine, theirs = ours["operations"][name], AWS["operations"][name]
    assert mine["name"] == theirs["name"]
    assert mine["http"] == {"responseCode": 200} | theirs["http"]
    assert sorted(error["shape"] for error in mine["errors"]) == sorted(error["shape"] for error in theirs["errors"])
    for error in theirs["errors"]:
        assert differences(error["shape"], ours) == []
    assert differences(theirs["input"]["shape"], ours) == []
    # Of its answers AWS's model requires nothing, and names statuses that never occur here.
    answer = theirs["output"]["shape"]
    found = {line.rpartition(".")[2].partition(":")[0] for line in differences(answer, ours)}
    assert found <= {"required", "enum"}
    mine_flat, theirs_flat = dict(flat(ours, answer)), dict(flat(AWS, answer))
    for path, value in mine_flat.items():
        if path.endswith(".required"):
            assert set(theirs_flat.get(path, ())) <= set(value)
        elif path.endswith(".enum"):
            assert set(value) <= set(theirs_flat[path])


def test_paginators(folder: Path) -> None:
    written = json.loads((folder / "paginators-1.json").read_text())
    assert written == {"pagination": {name: page for name, page in PAGINATORS.items() if name not in PACKAGING}}


def test_every_operation_and_exception_is_documented_in_our_words(ours: dict[str, Any]) -> None:
    for name, op in ours["operations"].items():
        first = (OPERATIONS[name].handler.__doc__ or "").split("\n")[0].rstrip()
        assert first
        assert op["documentation"].startswith(f"<p>{first}")
    errors = [shape for shape in ours["shapes"].values() if shape.get("exception")]
    assert len(errors) == 7
    assert all(error["documentation"] for error in errors)


def test_the_comparison_can_fail(ours: dict[str, Any]) -> None:
    changed = json.loads(json.dumps(ours))
    members = changed["shapes"]["CreateProjectRequest"]["members"]
    del members["ClientToken"]["idempotencyToken"]
    changed["shapes"][members["ProjectName"]["shape"]]["max"] = 254
    assert differences("CreateProjectRequest", changed) == [
        "CreateProjectRequest.ClientToken.idempotencyToken: None, AWS's is True",
        "CreateProjectRequest.ProjectName.max: 254, AWS's is 255",
    ]


def differences(shape: str, ours: Mapping[str, Any]) -> list[str]:
    """Everything in which our shape departs from AWS's of the same name, one line each."""
    mine, theirs = dict(flat(ours, shape)), dict(flat(AWS, shape))
    return [
        f"{path}: {mine.get(path)}, AWS's is {theirs.get(path)}"
        for path in sorted(mine.keys() | theirs.keys())
        if mine.get(path) != theirs.get(path)
    ]


def flat(model: Mapping[str, Any], name: str, path: str | None = None) -> Iterator[tuple[str, Any]]:
    """Every fact about a shape and those it consists of, by its path; the names of inner shapes are no facts."""
    path = path or name
    for key, value in model["shapes"][name].items():
        match key:
            case "documentation":
                continue
            case "members":
                for member, reference in value.items():
                    yield f"{path}.{member}", "a member"
                    for fact in reference.keys() - {"shape", "documentation"}:
                        yield f"{path}.{member}.{fact}", reference[fact]
                    yield from flat(model, reference["shape"], f"{path}.{member}")
            case "member":
                yield from flat(model, value["shape"], f"{path}[]")
            case "required" | "enum":
                yield f"{path}.{key}", sorted(value)
            case "min" if not value:
                continue
            case _:
                yield f"{path}.{key}", value
