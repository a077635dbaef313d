"""The service's own OpenAPI against AWS's service model: routes, members, bounds, patterns, status and errors."""

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from api.app import create_app
from api.operation import OPERATIONS
from storage.settings import Settings
from storage.stores import open_stores
from tests.conformance.aws import AWS, PACKAGING

SHAPES: Mapping[str, Any] = AWS["shapes"]
JSON_TYPES = {
    "string": "string",
    "blob": "string",
    "integer": "integer",
    "float": "number",
    "timestamp": "number",
    "boolean": "boolean",
    "list": "array",
    "structure": "object",
}
TAKES_BODY = {"CreateProject", "CreateDataset", "UpdateDatasetEntries", "CreateModel", "StartModel", "TagResource"}
BOUNDS = {
    "string": (("min", "minLength"), ("max", "maxLength")),
    "integer": (("min", "minimum"), ("max", "maximum")),
    "list": (("max", "maxItems"),),
}


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"))
    stores = open_stores(settings)
    yield create_app(settings, stores).openapi()
    stores.database.close()


@pytest.fixture
def document(openapi: dict[str, Any]) -> dict[str, Any]:
    """A copy for each test, since one of them changes it."""
    return copy.deepcopy(openapi)


def test_every_operation_but_packaging_is_declared() -> None:
    assert set(OPERATIONS) == set(AWS["operations"]) - PACKAGING


@pytest.mark.parametrize("name", sorted(set(AWS["operations"]) - PACKAGING))
def test_route_status_and_errors(name: str) -> None:
    ours, theirs = OPERATIONS[name], AWS["operations"][name]
    uri = theirs["http"]["requestUri"]
    assert (ours.method, ours.path.replace(":path", "")) == (theirs["http"]["method"], uri)
    assert ours.status == theirs["http"].get("responseCode", 200)
    assert {error.__name__ for error in ours.errors} == {error["shape"] for error in theirs["errors"]}
    for error in ours.errors:
        assert error.status_code == SHAPES[error.__name__]["error"]["httpStatusCode"]


@pytest.mark.parametrize("name", sorted(set(AWS["operations"]) - PACKAGING))
def test_parameters(name: str, document: dict[str, Any]) -> None:
    shape = SHAPES[AWS["operations"][name]["input"]["shape"]]
    route = _route(document, name)
    ours = {(p["in"], p["name"].lower()): p for p in route.get("parameters", [])}
    theirs = {
        ({"uri": "path", "querystring": "query", "header": "header"}[m["location"]], m["locationName"].lower()): (
            key,
            m,
        )
        for key, m in shape["members"].items()
        if "location" in m
    }
    assert set(ours) == set(theirs)
    differences: list[str] = []
    for place, (key, member) in theirs.items():
        if place[0] == "path":
            assert ours[place]["required"]
        else:
            assert ours[place].get("required", False) == (key in shape.get("required", [])), key
        if SHAPES[member["shape"]]["type"] != "timestamp":  # in a query a timestamp is ISO 8601, a string
            differences += _differences(key, member["shape"], ours[place]["schema"], document)
    assert differences == []


@pytest.mark.parametrize("name", sorted(set(AWS["operations"]) - PACKAGING))
def test_request_body(name: str, document: dict[str, Any]) -> None:
    shape_name = AWS["operations"][name]["input"]["shape"]
    shape = SHAPES[shape_name]
    body = {key for key, member in shape["members"].items() if "location" not in member} - {shape.get("payload")}
    route = _route(document, name)
    assert ("requestBody" in route) == bool(body) == (name in TAKES_BODY)
    if body:
        assert route["requestBody"]["required"]
        schema = route["requestBody"]["content"]["application/json"]["schema"]
        assert list(_differences(name, shape_name, schema, document)) == []


@pytest.mark.parametrize("name", sorted(set(AWS["operations"]) - PACKAGING))
def test_response_body(name: str, document: dict[str, Any]) -> None:
    ours = OPERATIONS[name]
    content = _route(document, name)["responses"][str(ours.status)]["content"]["application/json"]["schema"]
    output = AWS["operations"][name]["output"]["shape"]
    assert list(_differences(output, output, content, document)) == []


def test_the_comparison_can_fail(document: dict[str, Any]) -> None:
    schema = document["components"]["schemas"]["CreateProjectRequest"]
    schema["properties"]["ProjectName"]["maxLength"] = 254
    del schema["required"]
    found = list(_differences("CreateProject", "CreateProjectRequest", schema, document))
    assert found == [
        "CreateProject: required is [], AWS's is ['ProjectName']",
        "CreateProject.ProjectName: maxLength is 254, AWS's max is 255",
    ]


def _route(document: dict[str, Any], name: str) -> dict[str, Any]:
    ours = OPERATIONS[name]
    route: dict[str, Any] = document["paths"][ours.path.replace(":path", "")][ours.method.lower()]
    return route


def _resolve(schema: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    while True:
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        elif "anyOf" in schema:
            schema = next(option for option in schema["anyOf"] if option.get("type") != "null")
        else:
            return schema


def _differences(where: str, name: str, schema: dict[str, Any], document: dict[str, Any]) -> Iterator[str]:
    """Everything in which our schema departs from AWS's shape, one line each."""
    ours, theirs = _resolve(schema, document), SHAPES[name]
    if ours.get("type") != JSON_TYPES[theirs["type"]]:
        yield f"{where}: type is {ours.get('type')}, AWS's is {theirs['type']}"
        return
    for their_bound, our_bound in BOUNDS.get(theirs["type"], ()):
        if theirs.get(their_bound) != ours.get(our_bound) and not (our_bound == "minLength" and not theirs.get("min")):
            yield f"{where}: {our_bound} is {ours.get(our_bound)}, AWS's {their_bound} is {theirs.get(their_bound)}"
    if theirs["type"] == "string":
        if theirs.get("pattern") != ours.get("pattern") and not theirs.get("enum"):
            yield f"{where}: pattern is {ours.get('pattern')}, AWS's is {theirs.get('pattern')}"
        enum = set(theirs.get("enum", ()))
        pattern = ours.get("pattern")
        own = set(ours.get("enum", [ours["const"]] if "const" in ours else {pattern} if pattern else ()))
        if enum and not own <= enum:
            yield f"{where}: values are {sorted(own)}, AWS's are {sorted(enum)}"
    elif theirs["type"] == "list":
        yield from _differences(f"{where}[]", theirs["member"]["shape"], ours["items"], document)
    elif theirs["type"] == "structure":
        yield from _member_differences(where, theirs, ours, document)


def _member_differences(
    where: str, theirs: Mapping[str, Any], ours: dict[str, Any], document: dict[str, Any]
) -> Iterator[str]:
    members = {key: member for key, member in theirs["members"].items() if "location" not in member}
    properties = ours.get("properties", {})
    if set(members) != set(properties):
        yield f"{where}: members are {sorted(properties)}, AWS's are {sorted(members)}"
    required = sorted(set(theirs.get("required", ())) & set(members))
    own = sorted(set(ours.get("required", ())) & set(members))
    # Of its own answers AWS's model requires nothing; ours may promise more there.
    if own != required and (required or where.partition(".")[0] in TAKES_BODY):
        yield f"{where}: required is {own}, AWS's is {required}"
    for key in sorted(set(members) & set(properties)):
        yield from _differences(f"{where}.{key}", members[key]["shape"], properties[key], document)
