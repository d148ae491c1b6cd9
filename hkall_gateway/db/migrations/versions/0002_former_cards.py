"""Cards that were replaced, and the number that their owner has now."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import hkall_gateway.db.tables

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "former_cards",
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("present", sa.Text(), server_default="", nullable=False),
        sa.Column("at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=False),
        sa.Column("who", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("card", name=op.f("pk_former_cards")),
        comment="Cards that were replaced; `present` is the card that their owner has now, the same for all former ones.",
    )
    op.create_index(op.f("ix_former_cards_present"), "former_cards", ["present"], unique=False)
