"""access keys that are limited to projects; those made before are for all"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("access_key", schema=None) as batch_op:
        batch_op.add_column(sa.Column("projects", sa.JSON(none_as_null=True), nullable=True))
