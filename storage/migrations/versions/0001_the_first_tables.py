"""the first tables"""

import sqlalchemy as sa
from alembic import op

import storage.schema

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "access_key",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.String(length=20), nullable=False),
        sa.Column("created", storage.schema.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "client_token",
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("token", sa.String(length=64), nullable=False),
        sa.Column("parameters", sa.String(length=64), nullable=False),
        sa.Column("response", sa.JSON(), nullable=False),
        sa.Column("expires", storage.schema.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("operation", "token"),
    )
    op.create_table(
        "job",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=10), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_until", storage.schema.Moment(), nullable=False),
        sa.Column("created", storage.schema.Moment(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index("job_open", ["status", "lease_until"], unique=False)

    op.create_table(
        "project",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("created", storage.schema.Moment(), nullable=False),
        sa.Column("last_version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "dataset",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("type", sa.String(length=10), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created", storage.schema.Moment(), nullable=False),
        sa.Column("updated", storage.schema.Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project"],
            ["project.name"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project", "type"),
    )
    op.create_table(
        "model",
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=40), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("created", storage.schema.Moment(), nullable=False),
        sa.Column("output_bucket", sa.String(length=63), nullable=False),
        sa.Column("output_prefix", sa.String(length=1024), nullable=True),
        sa.Column("description", sa.String(length=500), nullable=True),
        sa.Column("kms_key_id", sa.String(length=2048), nullable=True),
        sa.Column("options", sa.JSON(), nullable=False),
        sa.Column("performance", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("evaluated", storage.schema.Moment(), nullable=True),
        sa.Column("evaluation_result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("evaluation_manifest", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("artefact", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("min_units", sa.Integer(), nullable=True),
        sa.Column("max_units", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project"],
            ["project.name"],
        ),
        sa.PrimaryKeyConstraint("project", "version"),
    )
    op.create_table(
        "entry",
        sa.Column("number", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("dataset", sa.String(length=36), nullable=False),
        sa.Column("source_ref", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("label", sa.String(length=10), nullable=True),
        sa.Column("has_mask", sa.Boolean(), nullable=False),
        sa.Column("created", storage.schema.Moment(), nullable=False),
        sa.ForeignKeyConstraint(["dataset"], ["dataset.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number"),
        sa.UniqueConstraint("dataset", "source_ref"),
    )
    with op.batch_alter_table("entry", schema=None) as batch_op:
        batch_op.create_index("entry_order", ["dataset", "number"], unique=False)

    op.create_table(
        "tag",
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=128), nullable=False),
        sa.Column("value", sa.String(length=256), nullable=False),
        sa.ForeignKeyConstraint(["project", "version"], ["model.project", "model.version"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("project", "version", "key"),
    )
    op.create_table(
        "unit",
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("wanted", sa.Boolean(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("replica", sa.String(length=36), nullable=True),
        sa.Column("address", sa.String(length=255), nullable=True),
        sa.Column("lease_until", storage.schema.Moment(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failure", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project", "version"],
            ["model.project", "model.version"],
        ),
        sa.PrimaryKeyConstraint("project", "version", "slot"),
    )
