"""which unit another one comes in the place of, while an inference host hands its units over"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("unit", schema=None) as batch_op:
        batch_op.add_column(sa.Column("succeeds", sa.Integer(), nullable=True))
