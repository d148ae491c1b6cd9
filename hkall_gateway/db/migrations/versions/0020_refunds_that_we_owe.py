"""the index of refunds that the library owes"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    owed = sa.text("cents < paid_cents + waived_cents")
    op.create_index("ix_fines_refund_owed", "fines", ["id"], sqlite_where=owed, postgresql_where=owed)
