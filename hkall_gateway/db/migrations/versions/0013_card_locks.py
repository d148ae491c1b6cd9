"""cards that wrong PINs locked"""

import sqlalchemy as sa
from alembic import op

import hkall_gateway.db.tables

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "card_locks",
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("ends_at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=False),
        sa.PrimaryKeyConstraint("card", name=op.f("pk_card_locks")),
        comment="Cards that wrong PINs locked at a terminal or over NCIP, until `ends_at`, so that the pages refuse them in any "
        "process.",
    )
