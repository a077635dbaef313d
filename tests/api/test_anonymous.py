"""No call without a signature but to the health checks: every route and method is tried, and what is no route."""

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from api.app import create_app
from api.operation import OPERATIONS
from storage.settings import Settings
from storage.stores import Stores
from tests.api.raw import API, Raw

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
HEALTH = {"/healthz", "/readyz"}
UNKNOWN = (
    "/",
    "/docs",
    "/docs/oauth2-redirect",
    "/redoc",
    "/openapi.json",
    "/static/app.js",
    "/favicon.ico",
    "/metrics/",
    "/2019-01-01/projects",
    API,
    f"{API}/healthz",
    "/healthz/",
    "/readyz/",
    "/healthz/../2020-11-20/projects",
    "//healthz",
    "/healthz%2Fx",
    "/healthz/..%2f",
    "/readyz;x",
    "//readyz",
)


def routes(settings: Settings, stores: Stores) -> Iterator[str]:
    for route in create_app(settings, stores).routes:
        assert isinstance(route, APIRoute), "a route of another kind needs a test of its own"
        yield route.path


def test_every_route_is_known(settings: Settings, stores: Stores) -> None:
    operations = {operation.path for operation in OPERATIONS.values()}
    assert set(routes(settings, stores)) == operations | HEALTH | {"/metrics"}


@pytest.mark.parametrize("method", METHODS)
def test_nobody_calls_without_a_signature(raw: Raw, settings: Settings, stores: Stores, method: str) -> None:
    answers: dict[str, Any] = {}
    for path in {*routes(settings, stores), *UNKNOWN} - HEALTH:
        filled = path.replace("{resourceArn:path}", "arn%3Aaws").replace("{", "").replace("}", "")
        answer = raw.send(method, filled, b"", {})
        answers[path] = (answer.status, answer.error)
    assert len(answers) > len(UNKNOWN)
    assert answers == dict.fromkeys(answers, (403, "AccessDeniedException"))


@pytest.mark.parametrize("path", sorted(HEALTH))
@pytest.mark.parametrize("method", METHODS)
def test_the_health_checks_are_there_to_be_read_only(raw: Raw, method: str, path: str) -> None:
    answer = raw.send(method, path, b"{}", {})
    assert (answer.status, answer.error) == ((200, None) if method == "GET" else (404, "UnknownOperationException"))
