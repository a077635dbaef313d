"""The tags of models."""

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from storage import schema
from storage.database import Database


class Tags:
    """Reads and changes the tags of a model version, within the open transaction where there is one."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def put(self, project: str, version: int, tags: Mapping[str, str]) -> None:
        """Add tags to a model; a key that is there gets the new value."""
        rows = [{"project": project, "version": version, "key": key, "value": tags[key]} for key in tags]
        with self._database.transaction() as connection:
            self.remove(project, version, list(tags))
            if rows:
                connection.execute(schema.tag.insert(), rows)

    def remove(self, project: str, version: int, keys: Sequence[str]) -> None:
        """Remove tags; a key that is not there is no error."""
        t = schema.tag.c
        with self._database.transaction() as connection:
            connection.execute(schema.tag.delete().where(t.project == project, t.version == version, t.key.in_(keys)))

    def of(self, project: str, version: int) -> dict[str, str]:
        """The tags of a model, in the order of their keys."""
        t = schema.tag.c
        query = sa.select(t.key, t.value).where(t.project == project, t.version == version).order_by(t.key)
        with self._database.reading() as connection:
            return {row.key: row.value for row in connection.execute(query)}
