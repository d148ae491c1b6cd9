"""the rows of a file that is being loaded"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.create_table(
        "staged_loads",
        sa.Column("load", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.Text, nullable=False, server_default=""),
        sa.Column("work", sa.Text, nullable=False, server_default=""),
        sa.Column("card", sa.Text, nullable=False, server_default=""),
        sa.Column("body", sa.Text, nullable=False, server_default=""),
        sa.Column("at", sa.String(32), nullable=False),
        comment="The file of a `load` until all of it is in effect: a header at place 0, then its rows as steps. A step is "
        "deleted when it was carried out. `card` is the card of a patron's row.",
    )
