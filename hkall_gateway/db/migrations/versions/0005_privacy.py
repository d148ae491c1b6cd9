"""marks of erased patrons, and the archives that purge wrote"""

import sqlalchemy as sa
from alembic import op

import hkall_gateway.db.tables

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "archives",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("written_at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=False),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_archives")),
        comment="The archive files that `purge` wrote, with the time of the last write, so that an erasure reads all of them.",
    )
    op.create_table(
        "erased",
        sa.Column("mark", sa.Text(), nullable=False),
        sa.Column("salt", sa.Text(), server_default="", nullable=False),
        sa.Column("key", sa.Text(), server_default="", nullable=False),
        sa.Column("at", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=False),
        sa.PrimaryKeyConstraint("mark", name=op.f("pk_erased")),
        comment="One mark for each erased card: a slow hash of the card under `salt` and the key with the fingerprint `key`. "
        "A restore compares its cards with the marks and erases those that match again.",
    )
