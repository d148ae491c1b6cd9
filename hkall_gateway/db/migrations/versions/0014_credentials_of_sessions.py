"""the credential that began a session"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("web_sessions", sa.Column("credential", sa.Text(), server_default="", nullable=False))
