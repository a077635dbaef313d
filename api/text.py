"""Bounded strings and bytes: checked as AWS's model means it, with messages that say what is allowed."""

import base64
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


@dataclass(frozen=True)
class Blob:
    """Bounded bytes, base64 in JSON. Nothing is passed over: a manifest sent as it is would not be read as rubbish."""

    says: str
    minimum: int
    maximum: int

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        encode = core_schema.plain_serializer_function_ser_schema(lambda value: base64.b64encode(value).decode())
        text = core_schema.str_schema()
        return core_schema.no_info_after_validator_function(self._decode, text, serialization=encode)

    def __get_pydantic_json_schema__(self, _schema: CoreSchema, _handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"type": "string", "format": "byte", "description": self.says}

    def _decode(self, value: str) -> bytes:
        try:
            decoded = base64.b64decode(value, validate=True)
        except ValueError:
            raise PydanticCustomError("base64", "must be base64") from None
        if not self.minimum <= len(decoded) <= self.maximum:
            raise PydanticCustomError("blob", "must be {says}", {"says": self.says})
        return decoded
