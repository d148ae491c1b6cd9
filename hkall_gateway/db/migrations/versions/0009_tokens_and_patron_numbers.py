"""tokens of programs, and the numbers of patrons in addresses of pages"""

import sqlalchemy as sa
from alembic import op

import hkall_gateway.db.tables

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    instant = hkall_gateway.db.tables.UtcDateTime(length=32)
    op.create_table(
        "api_tokens",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), server_default="", nullable=False),
        sa.Column("made_by", sa.Text(), server_default="", nullable=False),
        sa.Column("made_at", instant, nullable=False),
        sa.Column("ends_at", instant, nullable=True),
        sa.Column("revoked_at", instant, nullable=True),
        sa.Column("used_at", instant, nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_api_tokens")),
        comment="Programs that may use the API. `token_hash` is the SHA-256 of the token, so that a copy of the database opens "
        "nothing; a revoked token keeps its row, since the journal names it.",
    )
    op.create_index("ix_api_tokens_token_hash", "api_tokens", ["token_hash"], unique=True)
    op.create_table(
        "patron_numbers",
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("card", sa.Text(), server_default="", nullable=False),
        sa.Column("at", instant, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_patron_numbers")),
        comment="The random number by which a page about a patron is addressed, so that no card is in an address or a log.",
    )
    op.create_index("ix_patron_numbers_card", "patron_numbers", ["card"], unique=True)
