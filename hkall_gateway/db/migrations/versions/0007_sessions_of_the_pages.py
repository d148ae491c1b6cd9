"""sessions of browsers"""

import sqlalchemy as sa
from alembic import op

import hkall_gateway.db.tables

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "web_sessions",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), server_default="", nullable=False),
        sa.Column("login", sa.Text(), server_default="", nullable=False),
        sa.Column("patron", sa.Text(), server_default="", nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("role", sa.Text(), server_default="", nullable=False),
        sa.Column("source", sa.Text(), server_default="", nullable=False),
        sa.Column("csrf", sa.Text(), server_default="", nullable=False),
        sa.Column("created_at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=False),
        sa.Column("seen_at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=False),
        sa.Column("ends_at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=False),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_web_sessions")),
        comment="Who is logged in by a browser: a member of staff or a patron. `token_hash` is the SHA-256 of the cookie's token, "
        "so that a copy of the database opens no session.",
    )
    op.create_index("ix_web_sessions_patron", "web_sessions", ["patron"])
    op.create_index("ix_web_sessions_ends_at", "web_sessions", ["ends_at"])
