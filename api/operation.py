"""One declaration per AWS operation: from it come the route, validation, errors, OpenAPI and idempotency."""

import inspect
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any, NoReturn

from fastapi import Depends, FastAPI, Header, Request
from pydantic import BaseModel

from api.auth import Caller
from api.deps import find_model, model_of
from api.errors import (
    AccessDeniedException,
    ConflictException,
    InternalServerException,
    ResourceNotFoundException,
    ServiceError,
    ServiceQuotaExceededException,
    ThrottlingException,
    ValidationException,
)
from api.idempotency import once
from api.shapes import ClientToken, Response
from storage.records import ModelStatus, Role
from storage.stores import Stores

log = logging.getLogger(__name__)

API_VERSION = "/2020-11-20"
ALWAYS = (AccessDeniedException, InternalServerException, ThrottlingException, ValidationException)
RESOURCE = (ConflictException, ResourceNotFoundException)
QUOTA = (*RESOURCE, ServiceQuotaExceededException)

Token = Annotated[ClientToken | None, Header(alias="X-Amzn-Client-Token")]


@dataclass(frozen=True)
class Operation:
    """What an operation is; `errors` are those it may answer with."""

    name: str
    method: str
    path: str
    status: int
    errors: tuple[type[ServiceError], ...]
    role: Role
    narrows: bool
    handler: Callable[..., Any]


OPERATIONS: dict[str, Operation] = {}


def operation(
    method: str,
    path: str,
    *,
    status: int = 200,
    errors: tuple[type[ServiceError], ...] = RESOURCE,
    role: Role | None = None,
    narrows: bool = False,
    token: bool = False,
    state_wins: frozenset[ModelStatus] = frozenset(),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare the decorated function as an AWS operation; its name in camel case is the operation's.

    Without a `role` the operations that only look are for inspectors, all others for admins.
    A key that is limited to projects may call it for these only; with `narrows` the operation names no project, and its
    handler shows the caller's alone.
    With `token` the call takes a client token, runs in one transaction, and is answered from memory when repeated.
    With `state_wins` a repeated call is carried out again wherever the model's status allows it, and answered from
    memory only where it does not and the status is one of these: schedulers send one literal token for every StartModel
    and StopModel.
    """

    def declare(handler: Callable[..., Any]) -> Callable[..., Any]:
        name = "".join(part.capitalize() for part in handler.__name__.split("_"))
        endpoint = _with_token(handler, name, state_wins) if token else handler
        needed = role or (Role.INSPECTOR if method == "GET" else Role.ADMIN)
        OPERATIONS[name] = Operation(
            name, method, API_VERSION + path, status, (*ALWAYS, *errors), needed, narrows, endpoint
        )
        return handler

    return declare


def mount(app: FastAPI) -> None:
    """Give the application a route for every declared operation."""
    for op in OPERATIONS.values():
        app.add_api_route(
            op.path,
            op.handler,
            methods=[op.method],
            status_code=op.status,
            name=op.name,
            operation_id=op.name,
            summary=op.name,
            dependencies=[Depends(_permission(op))],
            responses={error.status_code: {"description": error.__name__} for error in op.errors},
            response_model_exclude_none=True,
        )


def _permission(op: Operation) -> Callable[[Request], Awaitable[None]]:
    async def check(request: Request) -> None:
        caller: Caller = request.state.caller
        if not caller.role.may(op.role):
            _refuse(op, caller, f"has the role {caller.role}; {op.name} needs the role {op.role}")
        if caller.projects is None or op.narrows:
            return
        project = await _project(request)
        if project not in caller.projects:
            limits = f"is limited to the projects {', '.join(sorted(caller.projects))}"
            _refuse(op, caller, f"{limits}; {op.name} is for " + (f"{project!r}" if project else "none of them"))

    return check


def _refuse(op: Operation, caller: Caller, why: str) -> NoReturn:
    log.warning("%s is refused to access key %s, which %s", op.name, caller.key, why)
    raise AccessDeniedException(f"the access key '{caller.key}' {why}")


async def _project(request: Request) -> str | None:
    """The project that a request is about: named by its path, by the ARN in its path, or by its body."""
    places = request.path_params
    if "projectName" in places:
        return str(places["projectName"])
    if "resourceArn" in places:
        stores: Stores = request.app.state.stores
        model = model_of(places["resourceArn"], stores.arns)
        return model[0] if model else None
    # By now it has been read as JSON; what is wrong with its form is said to those only who may call at all.
    body = await request.json() if await request.body() else None
    name = body.get("ProjectName") if isinstance(body, dict) else None
    return name if isinstance(name, str) else None


def _with_token(handler: Callable[..., Any], name: str, state_wins: frozenset[ModelStatus]) -> Callable[..., Any]:
    """The handler as an endpoint that also takes the client token, in one transaction with its effects."""
    signature = inspect.signature(handler, eval_str=True)
    answer: type[Response] = signature.return_annotation

    @wraps(handler)
    def endpoint(request: Request, client_token: str | None, **parameters: Any) -> Response:
        values = {
            key: value.model_dump(mode="json") if isinstance(value, BaseModel) else value
            for key, value in parameters.items()
            if isinstance(value, BaseModel | str)
        }
        stores: Stores = request.app.state.stores

        def still_so() -> bool:
            return find_model(parameters["projectName"], parameters["modelVersion"], stores).status in state_wins

        return once(
            stores,
            name,
            client_token,
            values,
            lambda: handler(**parameters),
            answer,
            still_so if state_wins else None,
        )

    extra = [
        inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request),
        inspect.Parameter("client_token", inspect.Parameter.KEYWORD_ONLY, annotation=Token, default=None),
    ]
    own = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in signature.parameters.values()]
    endpoint.__signature__ = signature.replace(parameters=own + extra)  # type: ignore[attr-defined]
    return endpoint
