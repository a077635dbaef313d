"""Client tokens: what an operation answered, kept for eight hours, so that a retry completes only once."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.database import Database
from storage.records import now

LIFETIME = timedelta(hours=8)


@dataclass(frozen=True)
class Answer:
    """What was asked (a digest of the parameters) and what was answered under a token."""

    parameters: str
    response: dict[str, Any]


class Tokens:
    """Part of the transaction of the call they belong to."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def recall(self, operation: str, token: str) -> Answer | None:
        """The answer given under this token within its lifetime."""
        t = schema.client_token.c
        with self._database.reading() as connection:
            row = connection.execute(
                sa.select(t.parameters, t.response).where(t.operation == operation, t.token == token, t.expires > now())
            ).first()
        return None if row is None else Answer(row.parameters, row.response)

    def remember(self, operation: str, token: str, answer: Answer) -> None:
        """Keep an answer; forgets all that have expired, and an older answer under the same token."""
        t = schema.client_token.c
        same = (t.operation == operation) & (t.token == token)
        with self._database.transaction() as connection:
            connection.execute(schema.client_token.delete().where((t.expires <= now()) | same))
            connection.execute(
                schema.client_token.insert().values(
                    operation=operation,
                    token=token,
                    parameters=answer.parameters,
                    response=answer.response,
                    expires=now() + LIFETIME,
                )
            )
