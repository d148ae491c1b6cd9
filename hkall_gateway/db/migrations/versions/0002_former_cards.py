"""Cards that were replaced, and the number that their owner has now."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hkall_gateway.db.tables import instants, keys, texts

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "former_cards",
        *keys("card"),
        *texts("present"),
        *instants("at"),
        *texts("who"),
        sa.Index("ix_former_cards_present", "present"),
        comment="Cards that were replaced; `present` is the card that their owner has now, the same for all former ones.",
    )
