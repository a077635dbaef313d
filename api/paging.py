"""NextToken: where an answer ended, in the alphabet that AWS's clients expect (standard base64)."""

import base64
import binascii

from api.errors import ValidationException

DEFAULT_PAGE = 100


def next_token(cursor: str | int) -> str:
    """The token that continues after `cursor`."""
    return base64.b64encode(str(cursor).encode()).decode()


def cursor(token: str | None) -> str | None:
    """What `next_token` was given. Raises ValidationException for a token that this service did not make."""
    if not token:
        return None
    try:
        return base64.b64decode(token, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise _refused() from None


def number_cursor(token: str | None) -> int | None:
    """A cursor that is a number."""
    text = cursor(token)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise _refused()
    return int(text)


def _refused() -> ValidationException:
    return ValidationException("nextToken is not one that this list has given; start again without it")
