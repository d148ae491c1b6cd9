"""tokens of programs, and the numbers of patrons in addresses of pages"""

import sqlalchemy as sa
from alembic import op

from hkall_gateway.db.tables import instants, keys, maybe_instants, texts

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.create_table(
        "api_tokens",
        *keys("name"),
        sa.Column("token_hash", sa.Text(), nullable=False),
        *texts("role", "made_by"),
        *instants("made_at"),
        *maybe_instants("ends_at", "revoked_at", "used_at"),
        sa.Index("ix_api_tokens_token_hash", "token_hash", unique=True),
        comment="Programs that may use the API. `token_hash` is the SHA-256 of the token, so that a copy of the database opens "
        "nothing; a revoked token keeps its row, since the journal names it.",
    )
    op.create_table(
        "patron_numbers",
        *keys("number"),
        *texts("card"),
        *instants("at"),
        sa.Index("ix_patron_numbers_card", "card", unique=True),
        comment="The random number by which a page about a patron is addressed, so that no card is in an address or a log.",
    )
