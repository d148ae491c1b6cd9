"""cards that wrong PINs locked"""

from alembic import op

from hkall_gateway.db.tables import instants, keys

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "card_locks",
        *keys("card"),
        *instants("ends_at"),
        comment="Cards that wrong PINs locked at a terminal or over NCIP, until `ends_at`, so that the pages refuse them in any "
        "process.",
    )
