"""The signature that a request presents: in its Authorization header or, presigned, in its query; its form and time.

AWS, IAM user guide, "Signature Version 4 for API requests": a presigned request is valid for X-Amz-Expires seconds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import unquote_plus

from api import signature
from api.errors import AccessDeniedException

SKEW_SECONDS = 300
_LONGEST_SECONDS = 604_800
_TOKEN = "X-Amz-Security-Token"  # noqa: S105 - the name of a parameter
_PARAMETERS = frozenset(
    f"X-Amz-{name}" for name in ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature")
)
_CREDENTIAL = r"(?P<key>[^/,\s]+)/(?P<date>[0-9]{8})/(?P<region>[^/,\s]+)/(?P<service>[^/,\s]+)/aws4_request"
_HEADER = re.compile(
    rf"{signature.ALGORITHM} +Credential={_CREDENTIAL}, *SignedHeaders=(?P<headers>[^,\s]+), *"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)
_IN_QUERY = re.compile(_CREDENTIAL)
# Added by proxies on the way, so that AWS's clients do not sign it.
_ADDED_ON_THE_WAY = "x-amzn-trace-id"


@dataclass(frozen=True)
class Credential:
    """Who a request claims to come from. `query` is what was signed of its query; `signature` is not verified yet."""

    key: str
    scope: signature.Scope
    time: str
    headers: tuple[str, ...]
    signature: str
    query: str


def presented(headers: Mapping[str, str], query: str) -> Credential:
    """The credential of a request, by its headers (lower-case names) and its query as on the wire.

    Raises AccessDeniedException where there is none, it is not of AWS's form, for another service, or not valid now.
    """
    pairs = [pair.partition("=") for pair in query.split("&")]
    named = [(unquote_plus(name), unquote_plus(value)) for name, _, value in pairs]
    found = [(name, value) for name, value in named if name in _PARAMETERS or name == _TOKEN]
    authorization = headers.get("authorization", "").strip()
    if found and authorization:
        raise AccessDeniedException("the request is signed twice, in its Authorization header and in its query")
    credential = _from_query(found, query) if found else _from_header(authorization, headers, query)
    if credential.scope.service != signature.SERVICE:
        raise AccessDeniedException(
            f"the request is signed for the service '{credential.scope.service}', not {signature.SERVICE}"
        )
    _check_headers(credential.headers, headers)
    return credential


def _from_header(authorization: str, headers: Mapping[str, str], query: str) -> Credential:
    match = _HEADER.fullmatch(authorization)
    if match is None:
        raise AccessDeniedException(
            "the request is not signed with AWS Signature Version 4; give the client an access key "
            "(`vigil env` prints one)"
        )
    names = tuple(match["headers"].split(";"))
    time = headers.get("x-amz-date", "")
    age = _age(time, match["date"], "the header x-amz-date")
    if abs(age) > SKEW_SECONDS:
        raise AccessDeniedException(
            f"the request was signed {abs(age):.0f} seconds {'ago' if age > 0 else 'ahead'}; at most {SKEW_SECONDS} "
            "are allowed: set the clock of the machine that sends it"
        )
    if "x-amz-date" not in names:
        raise AccessDeniedException("the signature must cover the headers host and x-amz-date")
    return Credential(match["key"], _scope(match), time, names, match["signature"], query)


def _from_query(found: list[tuple[str, str]], query: str) -> Credential:
    values = dict(found)
    if len(values) < len(found):
        raise AccessDeniedException("a parameter of the signature stands in the query more than once")
    if _TOKEN in values:
        raise AccessDeniedException(
            f"{_TOKEN} belongs to temporary credentials, which this service does not give; sign with an access key of "
            "`vigil keys create`"
        )
    if missing := sorted(_PARAMETERS - values.keys()):
        raise AccessDeniedException(f"the presigned request lacks {', '.join(missing)} in its query")
    if values["X-Amz-Algorithm"] != signature.ALGORITHM:
        raise AccessDeniedException(f"X-Amz-Algorithm must be {signature.ALGORITHM}")
    match = _IN_QUERY.fullmatch(values["X-Amz-Credential"])
    if match is None:
        raise AccessDeniedException("X-Amz-Credential must be KEY/YYYYMMDD/REGION/lookoutvision/aws4_request")
    expires = values["X-Amz-Expires"]
    if not re.fullmatch(r"[0-9]{1,6}", expires) or not 1 <= int(expires) <= _LONGEST_SECONDS:
        raise AccessDeniedException(f"X-Amz-Expires must be a number of seconds from 1 to {_LONGEST_SECONDS}")
    age = _age(values["X-Amz-Date"], match["date"], "X-Amz-Date")
    if age < -SKEW_SECONDS:
        raise AccessDeniedException(
            f"the request is presigned for a time {-age:.0f} seconds ahead; at most {SKEW_SECONDS} are allowed: "
            "set the clock of the machine that presigned it"
        )
    if age > int(expires):
        raise AccessDeniedException(f"the presigned request has expired {age - int(expires):.0f} seconds ago")
    signed = "&".join(pair for pair in query.split("&") if unquote_plus(pair.partition("=")[0]) != "X-Amz-Signature")
    names = tuple(values["X-Amz-SignedHeaders"].split(";"))
    return Credential(match["key"], _scope(match), values["X-Amz-Date"], names, values["X-Amz-Signature"], signed)


def _scope(match: re.Match[str]) -> signature.Scope:
    return signature.Scope(match["date"], match["region"], match["service"])


def _age(time: str, date: str, what: str) -> float:
    try:
        signed = datetime.strptime(time, signature.TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        raise AccessDeniedException(f"{what} is missing or not of the form 20251031T235959Z") from None
    if time[:8] != date:
        raise AccessDeniedException("x-amz-date and the credential scope name different days")
    return (datetime.now(UTC) - signed).total_seconds()


def _check_headers(signed: tuple[str, ...], headers: Mapping[str, str]) -> None:
    if "host" not in signed:
        raise AccessDeniedException("the signature must cover the header host")
    # AWS wants these covered; here they also hold the client token and what an answer is to contain.
    meant = {name for name in headers if name.startswith(("x-amz", "x-vigil-"))} - {_ADDED_ON_THE_WAY}
    if missing := sorted(meant - set(signed)):
        raise AccessDeniedException(f"the signature must cover the header {missing[0]}")
