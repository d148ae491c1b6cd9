"""sessions of browsers"""

import sqlalchemy as sa
from alembic import op

from hkall_gateway.db.tables import instants, keys, texts

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "web_sessions",
        *keys("token_hash"),
        *texts("kind", "login", "patron", "name", "role", "source", "csrf"),
        *instants("created_at", "seen_at", "ends_at"),
        sa.Index("ix_web_sessions_patron", "patron"),
        sa.Index("ix_web_sessions_ends_at", "ends_at"),
        comment="Who is logged in by a browser: a member of staff or a patron. `token_hash` is the SHA-256 of the cookie's token, "
        "so that a copy of the database opens no session.",
    )
