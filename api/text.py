"""Bounded strings: checked as AWS's patterns mean it, with messages that say what is allowed."""

from dataclasses import dataclass
from typing import Any

import regex
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

# JSON can spell both, but no database keeps them: the character NUL, and halves of characters.
_UNSTORABLE = regex.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Text:
    """A bounded string. The pattern must match the whole value; `says` completes "<member> must be …"."""

    says: str
    minimum: int = 0
    maximum: int | None = None
    pattern: str | None = None

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, core_schema.str_schema(strict=True))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        json = handler(schema) | {"description": self.says}
        if self.minimum:
            json["minLength"] = self.minimum
        if self.maximum is not None:
            json["maxLength"] = self.maximum
        if self.pattern is not None:
            json["pattern"] = self.pattern
        return json

    def _check(self, value: str) -> str:
        fits = self.minimum <= len(value) and (self.maximum is None or len(value) <= self.maximum)
        if (
            not fits
            or _UNSTORABLE.search(value)
            or (self.pattern is not None and not regex.fullmatch(self.pattern, value))
        ):
            raise PydanticCustomError("text", "must be {says}", {"says": self.says})
        return value
