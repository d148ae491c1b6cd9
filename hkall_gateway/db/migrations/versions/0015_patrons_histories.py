"""patrons who keep a history, and the texts of their letters"""

import sqlalchemy as sa
from alembic import op

from hkall_gateway.db.tables import instants, keys

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "patron_choices",
        *keys("patron"),
        *instants("history_since"),
        comment="Patrons who asked us to keep their past loans and the letters to them.",
    )
    op.add_column("notices", sa.Column("text", sa.Text(), server_default="", nullable=False))
