"""sort keys of call numbers, and the indexes of the work lists and statistics"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

IS_REFUSED = "event = 'REFUSED'"
IS_UNDELIVERABLE = "state = 'undeliverable'"


def upgrade() -> None:
    by_code_point = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("holdings", sa.Column("shelving_key", by_code_point, server_default="", nullable=False))
    _index("ix_journal_refused", "journal", "at", IS_REFUSED)
    _index("ix_notices_undeliverable", "notices", "id", IS_UNDELIVERABLE)


def _index(name: str, table: str, column: str, where: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
