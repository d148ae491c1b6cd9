"""the number that a lender gave our request"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("candidates", sa.Column("their_number", sa.Text(), server_default="", nullable=False))
    op.create_index(op.f("ix_candidates_their_number"), "candidates", ["their_number"])
