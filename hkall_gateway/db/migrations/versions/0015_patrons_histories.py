"""patrons who keep a history, and the texts of their letters"""

import sqlalchemy as sa
from alembic import op

import hkall_gateway.db.tables

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "patron_choices",
        sa.Column("patron", sa.Text(), nullable=False),
        sa.Column("history_since", hkall_gateway.db.tables.UtcDateTime(length=32), nullable=False),
        sa.PrimaryKeyConstraint("patron", name=op.f("pk_patron_choices")),
        comment="Patrons who asked us to keep their past loans and the letters to them.",
    )
    op.add_column("notices", sa.Column("text", sa.Text(), server_default="", nullable=False))
