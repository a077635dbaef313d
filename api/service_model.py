"""The service model that AWS's clients are driven by, made from the declared operations and their shapes.

Its form is botocore's service-2.json and paginators-1.json: each value is a named shape, and the members of a request
say whether they travel in the path, the query, a header or the body.
"""

import html
import inspect
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from fastapi.params import Header, Param, Query
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from api import shapes
from api.deps import Stream
from api.errors import RETRY_AFTER, ServiceError
from api.operation import API_VERSION, Operation, Token
from api.signature import SERVICE
from api.text import Blob, Text

_VERSION = API_VERSION.strip("/")
_KINDS = {str: "string", int: "integer", float: "float", bool: "boolean", datetime: "timestamp", bytes: "blob"}
_NAMED = {name: value for name, value in vars(shapes).items() if get_origin(value) in (Annotated, Literal)}


@dataclass(frozen=True)
class _Member:
    """A member of a structure; `place` is what the model says about its way, besides its shape."""

    name: str
    type: Any
    required: bool
    place: Mapping[str, str | bool]


def service_model(operations: Iterable[Operation], documentation: str) -> dict[str, Any]:
    """What service-2.json holds."""
    found = _Shapes()
    return {
        "version": "2.0",
        "metadata": {
            "apiVersion": _VERSION,
            "endpointPrefix": SERVICE,
            "protocol": "rest-json",
            "protocols": ["rest-json"],
            "jsonVersion": "1.1",
            "serviceFullName": "Amazon Lookout for Vision",
            "serviceId": "LookoutVision",
            "signatureVersion": "v4",
            "signingName": SERVICE,
            "auth": ["aws.auth#sigv4"],
            "uid": f"{SERVICE}-{_VERSION}",
        },
        "operations": {op.name: _operation(op, found) for op in operations},
        "shapes": found.shapes,
    } | _documented(documentation)


def paginators(model: Mapping[str, Any]) -> dict[str, Any]:
    """What paginators-1.json holds: every operation of the service model that takes a NextToken."""
    members = {name: shape.get("members", {}) for name, shape in model["shapes"].items()}
    pages = {}
    for name, op in model["operations"].items():
        if "NextToken" in members[op["input"]["shape"]]:
            answer = members[op["output"]["shape"]]
            (result,) = (key for key, member in answer.items() if model["shapes"][member["shape"]]["type"] == "list")
            pages[name] = {
                "input_token": "NextToken",
                "output_token": "NextToken",
                "limit_key": "MaxResults",
                "result_key": result,
            }
    return {"pagination": pages}


def _operation(op: Operation, found: "_Shapes") -> dict[str, Any]:
    answer = inspect.signature(op.handler, eval_str=True).return_annotation
    for error in op.errors:
        found.add_error(error)
    return {
        "name": op.name,
        "http": {"method": op.method, "requestUri": op.path.replace(":path", ""), "responseCode": op.status},
        "input": {"shape": found.add_structure(f"{op.name}Request", list(_parameters(op)), None)},
        "output": {"shape": found.add_structure(f"{op.name}Response", list(_fields(answer)), None)},
        "errors": [{"shape": error.__name__} for error in op.errors],
    } | _documented(op.handler.__doc__)


def _parameters(op: Operation) -> Iterator[_Member]:
    """The request's members: a handler's parameters but those that the framework hands it."""
    for parameter in inspect.signature(op.handler, eval_str=True).parameters.values():
        type_ = parameter.annotation
        name = "".join(part[0].upper() + part[1:] for part in parameter.name.split("_"))
        required = parameter.default is parameter.empty
        source = next((item for item in get_args(type_)[1:] if isinstance(item, Param)), None)
        if f"{{{parameter.name}" in op.path:
            yield _Member(name, type_, required, {"location": "uri", "locationName": parameter.name})
        elif isinstance(source, Header | Query) and source.include_in_schema:
            location = "header" if isinstance(source, Header) else "querystring"
            place = {"location": location, "locationName": source.alias or parameter.name}
            yield _Member(name, type_, required, place | ({"idempotencyToken": True} if type_ == Token else {}))
        elif type_ == Stream:
            yield _Member(name, type_, required, {})
        elif _is_structure(type_):
            yield from _fields(type_)


def _fields(structure: type[BaseModel]) -> Iterator[_Member]:
    types = get_type_hints(structure, include_extras=True)
    for name, field in structure.model_fields.items():
        yield _Member(name, types[name], field.is_required(), {})


class _Shapes:
    """The shapes of a model by name, each added by the first that refers to it."""

    def __init__(self) -> None:
        self.shapes: dict[str, dict[str, Any]] = {}

    def add(self, annotation: Any) -> str:
        """The name of the shape of a member's type."""
        type_ = _bare(annotation)
        base, *metadata = get_args(type_) if get_origin(type_) is Annotated else (type_,)
        if _is_structure(base):
            return self.add_structure(base.__name__, list(_fields(base)), base.__doc__)
        name = next((name for name, value in _NAMED.items() if value == type_), "")
        if type_ == Stream:
            name, shape = "Stream", {"type": "blob", "streaming": True, "requiresLength": True}
        elif get_origin(base) is list:
            element = self.add(get_args(base)[0])
            name, shape = name or f"{element}List", {"type": "list", "member": {"shape": element}}
        elif get_origin(base) is Literal:
            shape = {"type": "string", "enum": list(get_args(base))}
        elif issubclass(base, StrEnum):
            name, shape = base.__name__, {"type": "string", "enum": [str(value) for value in base]}
        else:
            name, shape = name or _KINDS[base].capitalize(), {"type": _KINDS[base]}
        self.shapes.setdefault(name, shape | _bounds(metadata))
        return name

    def add_structure(self, name: str, members: list[_Member], documentation: str | None) -> str:
        """The name of a structure of these members."""
        if name not in self.shapes:
            shape: dict[str, Any] = {"type": "structure"} | _documented(documentation)
            shape["members"] = {member.name: {"shape": self.add(member.type), **member.place} for member in members}
            if required := [member.name for member in members if member.required]:
                shape["required"] = required
            for member in members:
                if member.type == Stream:
                    shape["payload"] = member.name
            self.shapes[name] = shape
        return name

    def add_error(self, error: type[ServiceError]) -> None:
        """The structure of an exception."""
        members = [_error_member(name, required=True) for name in ("Message", *error.required)]
        members += [_error_member(name, required=False) for name in error.optional]
        shape = self.shapes[self.add_structure(error.__name__, members, error.__doc__)]
        shape |= {"error": {"httpStatusCode": error.status_code}, "exception": True}
        if error.status_code >= 500:
            shape["fault"] = True


def _error_member(name: str, *, required: bool) -> _Member:
    if name == RETRY_AFTER:
        return _Member(name, int, required, {"location": "header", "locationName": "Retry-After"})
    return _Member(name, shapes.ResourceType if name == "ResourceType" else str, required, {})


def _is_structure(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, BaseModel)


def _bare(type_: Any) -> Any:
    """A type without what says where its value comes from and that it may be missing."""
    if get_origin(type_) in (Union, UnionType):
        (type_,) = (option for option in get_args(type_) if option is not NoneType)
    if get_origin(type_) is not Annotated:
        return type_
    base, *metadata = get_args(type_)
    if get_origin(base) in (Union, UnionType):
        return _bare(base)
    kept = [item for item in metadata if not isinstance(item, Param)]
    return Annotated[(base, *kept)] if kept else base


def _bounds(metadata: Iterable[Any]) -> dict[str, Any]:
    """What the model says about a value's size and form."""
    bounds: dict[str, Any] = {}
    for item in metadata:
        match item:
            case Text():
                bounds |= {"min": item.minimum, "max": item.maximum, "pattern": item.pattern} | _documented(item.says)
            case Blob():
                bounds |= {"min": item.minimum, "max": item.maximum} | _documented(item.says)
            case FieldInfo():
                for bound in item.metadata:
                    for name, key in (("ge", "min"), ("min_length", "min"), ("le", "max"), ("max_length", "max")):
                        bounds |= {key: getattr(bound, name)} if hasattr(bound, name) else {}
    return {key: value for key, value in bounds.items() if value is not None}


def _documented(text: str | None) -> dict[str, str]:
    """A docstring as the model holds it: HTML."""
    return {"documentation": f"<p>{html.escape(inspect.cleandoc(text), quote=False)}</p>"} if text else {}
