"""the fault for which a partner takes nothing of us"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("links", sa.Column("fault", sa.Text(), server_default="", nullable=False))
