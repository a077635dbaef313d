"""The seven exceptions of the API, and the one place where anything that goes wrong becomes a response.

ServiceError
├── AccessDeniedException           403
├── ConflictException               409   ResourceId, ResourceType
├── InternalServerException         500   Retry-After
├── ResourceNotFoundException       404   ResourceId, ResourceType
├── ServiceQuotaExceededException   402   QuotaCode, ServiceCode
├── ThrottlingException             429   Retry-After
└── ValidationException             400
"""

import logging
from typing import ClassVar

from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from storage.database import is_full
from storage.errors import Conflict, DataKeyError, Full, ManifestError, Missing, ObjectError, StorageError, Unreachable

REQUEST_ID = "x-amzn-RequestId"
RETRY_AFTER = "RetryAfterSeconds"  # the one member that travels as a header, Retry-After
NOT_JSON = "the body of the request is not JSON"

log = logging.getLogger(__name__)


class ServiceError(Exception):
    """Base of every error that a caller can see.

    `required` and `optional` name the members of AWS's error shape besides Message; `members` gives their values.
    """

    status_code: ClassVar[int] = 500
    required: ClassVar[tuple[str, ...]] = ()
    optional: ClassVar[tuple[str, ...]] = ()

    def __init__(self, message: str, *, retry_after: int | None = None, **members: str) -> None:
        super().__init__(message)
        self.message, self.members, self.retry_after = message, members, retry_after

    def response(self) -> JSONResponse:
        """The error as AWS's clients read it."""
        headers = {"x-amzn-ErrorType": type(self).__name__}
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return JSONResponse({"Message": self.message, **self.members}, self.status_code, headers)


class AccessDeniedException(ServiceError):
    """The request is not signed, or not by a key that may do this."""

    status_code = 403


class ConflictException(ServiceError):
    """The resource's state forbids the change."""

    status_code = 409
    required = ("ResourceId", "ResourceType")


class InternalServerException(ServiceError):
    """The service failed; clients try again."""

    status_code = 500
    optional = (RETRY_AFTER,)


class ResourceNotFoundException(ServiceError):
    """There is no such project, data set or model."""

    status_code = 404
    required = ("ResourceId", "ResourceType")


class ServiceQuotaExceededException(ServiceError):
    """A quota is used up. `QuotaCode` is the name of the setting that holds it."""

    status_code = 402
    required = ("QuotaCode", "ServiceCode")
    optional = ("ResourceId", "ResourceType")

    def __init__(self, message: str, quota: str, **members: str) -> None:
        super().__init__(message, retry_after=None, QuotaCode=quota, ServiceCode="lookoutvision", **members)


class ThrottlingException(ServiceError):
    """More requests than the model's inference units can take; clients try again."""

    status_code = 429
    optional = ("QuotaCode", "ServiceCode", RETRY_AFTER)

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message, retry_after=retry_after, QuotaCode="inference-units", ServiceCode="lookoutvision")


class ValidationException(ServiceError):
    """A parameter, an image or a manifest that cannot be accepted."""

    status_code = 400


def from_storage(error: StorageError) -> ServiceError:
    """What storage refused, in AWS's words."""
    match error:
        case Missing():
            return ResourceNotFoundException(str(error), ResourceId=error.resource, ResourceType=error.kind)
        case Conflict():
            return ConflictException(str(error), ResourceId=error.resource, ResourceType=error.kind)
        case Full():
            log.error("%s", error)
            return InternalServerException(f"{error}, then try again", retry_after=5)
        case Unreachable():
            log.error("%s", error)
            return InternalServerException(f"{error}; try again once it runs", retry_after=5)
        case ObjectError() | ManifestError() | DataKeyError():
            return ValidationException(str(error))
        case _:
            log.error("storage failed", exc_info=error)
            return InternalServerException("the service cannot read its own data; its log says why", retry_after=5)


def from_validation(error: RequestValidationError) -> ValidationException:
    """The first thing wrong with a request's parameters, named as the caller wrote it."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"] if part not in ("body", "path", "query", "header")]
    name = ".".join(place)
    if first["type"] == "json_invalid":
        return ValidationException(NOT_JSON)
    if first["type"] == "missing":
        return ValidationException(f"{name or 'the body of the request'} is required")
    message = first["msg"][:1].lower() + first["msg"][1:]
    return ValidationException(f"{name or 'the body of the request'} {message}" + _shown(first.get("input")))


def _shown(value: object) -> str:
    match value:
        case str():
            return f" (it is {value[:100]!r})"
        case int() | float():
            return f" (it is {value})"
        case _:
            return ""


async def on_service_error(_request: Request, error: Exception) -> JSONResponse:
    """Exception handler for ServiceError."""
    if not isinstance(error, ServiceError):
        raise error
    return error.response()


async def on_storage_error(_request: Request, error: Exception) -> JSONResponse:
    """Exception handler for StorageError."""
    if not isinstance(error, StorageError):
        raise error
    return from_storage(error).response()


async def on_database_error(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for a catalogue that cannot be written or reached; the transaction was undone."""
    if not (isinstance(error, DBAPIError) and is_full(error)):
        return await on_unexpected_error(request, error)
    log.error("the disk of the catalogue is full")
    return InternalServerException(
        "the disk of the catalogue is full and nothing was changed; make room on the disk of the data directory, or of "
        "the database server where there is one, then try again",
        retry_after=5,
    ).response()


async def on_validation_error(_request: Request, error: Exception) -> JSONResponse:
    """Exception handler for RequestValidationError."""
    if not isinstance(error, RequestValidationError):
        raise error
    return from_validation(error).response()


async def on_unexpected_error(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for everything else: the trace goes to the log, the request id to the caller."""
    id_ = request.state.request_id
    log.error("%s %s failed (request %s)", request.method, request.url.path, id_, exc_info=error)
    response = InternalServerException(
        f"the service failed ({type(error).__name__}); its log has the details of this request", retry_after=1
    ).response()
    response.headers[REQUEST_ID] = id_
    return response


async def on_http_exception(request: Request, error: Exception) -> JSONResponse:
    """Exception handler for what the framework refuses: bodies it cannot decode, paths and methods it does not know."""
    if isinstance(error, HTTPException) and error.status_code == ValidationException.status_code:
        return ValidationException(NOT_JSON).response()
    response = ValidationException(f"no operation is called with {request.method} {request.url.path}").response()
    response.headers["x-amzn-ErrorType"] = "UnknownOperationException"
    response.status_code = 404
    return response
