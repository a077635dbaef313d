"""when the requests of an inference unit last waited too long"""

import sqlalchemy as sa
from alembic import op

import storage.schema

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    with op.batch_alter_table("unit", schema=None) as batch_op:
        batch_op.add_column(sa.Column("pressed", storage.schema.Moment(), nullable=True))
