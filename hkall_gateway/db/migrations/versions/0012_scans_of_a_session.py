"""the scans of a session"""

import sqlalchemy as sa
from alembic import op

import hkall_gateway.db.tables

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "web_scans",
        sa.Column("token_hash", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=False),
        sa.Column("answer", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("token_hash", "number", name=op.f("pk_web_scans")),
        comment="The latest scans of a session at the scan station, numbered from 1, so that a page that is loaded again shows its "
        "answer and sends nothing. `answer` is JSON in the words that were shown.",
    )
