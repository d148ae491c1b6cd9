"""the ports that each gateway has opened"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    op.add_column("instances", sa.Column("ports", sa.Text, nullable=False, server_default=""))
