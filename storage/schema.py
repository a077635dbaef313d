"""The catalogue's tables. A change here needs a migration in `migrations/versions`; a test compares the two."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Dialect

metadata = sa.MetaData()

# Every process brings the schema up to date when it starts; that there was nothing to do is no news.
logging.getLogger("alembic.runtime").setLevel(logging.WARNING)


class Moment(sa.types.TypeDecorator[datetime]):
    """A point in time, kept as seconds since 1970 in double precision: the same on every database, and comparable."""

    impl = sa.Double
    cache_ok = True

    def process_bind_param(self, value: datetime | None, _dialect: Dialect) -> float | None:
        """Aware datetime → seconds."""
        return None if value is None else value.timestamp()

    def process_result_value(self, value: Any, _dialect: Dialect) -> datetime | None:
        """Seconds → aware datetime in UTC."""
        return None if value is None else datetime.fromtimestamp(value, UTC)


project = sa.Table(
    "project",
    metadata,
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("created", Moment, nullable=False),
    sa.Column("last_version", sa.Integer, nullable=False, default=0),
)

dataset = sa.Table(
    "dataset",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("project", sa.ForeignKey("project.name"), nullable=False),
    sa.Column("type", sa.String(10), nullable=False),
    sa.Column("status", sa.String(40), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("updated", Moment, nullable=False),
    sa.UniqueConstraint("project", "type"),
)

entry = sa.Table(
    "entry",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("dataset", sa.ForeignKey("dataset.id", ondelete="CASCADE"), nullable=False),
    sa.Column("source_ref", sa.Text, nullable=False),
    sa.Column("line", sa.Text, nullable=False),
    sa.Column("label", sa.String(10)),
    sa.Column("has_mask", sa.Boolean, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.UniqueConstraint("dataset", "source_ref"),
    sa.Index("entry_order", "dataset", "number"),
)

model = sa.Table(
    "model",
    metadata,
    sa.Column("project", sa.ForeignKey("project.name"), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("status", sa.String(40), nullable=False),
    sa.Column("message", sa.Text, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("output_bucket", sa.String(63), nullable=False),
    sa.Column("output_prefix", sa.String(1024)),
    sa.Column("description", sa.String(500)),
    sa.Column("kms_key_id", sa.String(2048)),
    sa.Column("options", sa.JSON, nullable=False),
    sa.Column("performance", sa.JSON(none_as_null=True)),
    sa.Column("evaluated", Moment),
    sa.Column("evaluation_result", sa.JSON(none_as_null=True)),
    sa.Column("evaluation_manifest", sa.JSON(none_as_null=True)),
    sa.Column("artefact", sa.JSON(none_as_null=True)),
    sa.Column("min_units", sa.Integer),
    sa.Column("max_units", sa.Integer),
)

tag = sa.Table(
    "tag",
    metadata,
    sa.Column("project", sa.String(255), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("value", sa.String(256), nullable=False),
    sa.ForeignKeyConstraint(["project", "version"], ["model.project", "model.version"], ondelete="CASCADE"),
)

client_token = sa.Table(
    "client_token",
    metadata,
    sa.Column("operation", sa.String(64), primary_key=True),
    sa.Column("token", sa.String(64), primary_key=True),
    sa.Column("parameters", sa.String(64), nullable=False),
    sa.Column("response", sa.JSON, nullable=False),
    sa.Column("expires", Moment, nullable=False),
)

job = sa.Table(
    "job",
    metadata,
    sa.Column("id", sa.String(36), primary_key=True),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("payload", sa.JSON, nullable=False),
    sa.Column("status", sa.String(10), nullable=False),
    sa.Column("epoch", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("lease_until", Moment, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Index("job_open", "status", "lease_until"),
)

unit = sa.Table(
    "unit",
    metadata,
    sa.Column("project", sa.String(255), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True),
    sa.Column("wanted", sa.Boolean, nullable=False),
    sa.Column("host", sa.String(255)),
    sa.Column("replica", sa.String(36)),
    sa.Column("address", sa.String(255)),
    sa.Column("lease_until", Moment, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("failure", sa.Text),
    sa.Column("pressed", Moment),
    sa.Column("succeeds", sa.Integer),
    sa.ForeignKeyConstraint(["project", "version"], ["model.project", "model.version"]),
)

access_key = sa.Table(
    "access_key",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("sealed_secret", sa.LargeBinary, nullable=False),
    sa.Column("role", sa.String(20), nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("projects", sa.JSON(none_as_null=True)),
)


def migrate(engine: sa.Engine) -> None:
    """Bring the database to the newest schema; an empty one gets all tables. Safe to call at every start."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
