"""terminals of each gateway"""

import sqlalchemy as sa
from alembic import op

import hkall_gateway.db.tables

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "terminal_activity",
        sa.Column("instance", sa.Text(), nullable=False),
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), server_default="", nullable=False),
        sa.Column("location", sa.Text(), server_default="", nullable=False),
        sa.Column("connections", sa.Integer(), server_default="0", nullable=False),
        sa.Column("last_code", sa.Text(), server_default="", nullable=False),
        sa.Column("last_at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=True),
        sa.Column("refused", sa.Integer(), server_default="0", nullable=False),
        sa.Column("refused_why", sa.Text(), server_default="", nullable=False),
        sa.Column("refused_at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=True),
        sa.Column("seen_at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=False),
        sa.PrimaryKeyConstraint("instance", "login", name=op.f("pk_terminal_activity")),
        comment="Each terminal at each gateway, written with the gateway's heartbeat: its open connections, its last message, and "
        "its refused logins since the gateway's start.",
    )
