"""the scans of a session"""

import sqlalchemy as sa
from alembic import op

from hkall_gateway.db.tables import instants, keys, texts

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "web_scans",
        *keys("token_hash"),
        sa.Column("number", sa.Integer, primary_key=True),
        *instants("at"),
        *texts("answer"),
        comment="The latest scans of a session at the scan station, numbered from 1, so that a page that is loaded again shows its "
        "answer and sends nothing. `answer` is JSON in the words that were shown.",
    )
