"""How tests say that a call is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from botocore.exceptions import ClientError

STATUS = {
    "AccessDeniedException": 403,
    "ConflictException": 409,
    "InternalServerException": 500,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 402,
    "ThrottlingException": 429,
    "ValidationException": 400,
}


@contextmanager
def assert_refused(code: str, message: str = "") -> Iterator[dict[str, Any]]:
    """Expects this exception with its status; `message` is a regular expression. Yields the error's members."""
    members: dict[str, Any] = {}
    with pytest.raises(ClientError) as caught:
        yield members
    error = caught.value
    members.update(error.response)
    assert error.response["Error"]["Code"] == code, str(error)
    assert type(error).__name__ == code
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == STATUS[code]
    assert caught.match(message)
