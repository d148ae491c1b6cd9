"""The day on which a book on loan was put into the book drop."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("requests", sa.Column("dropped_on", sa.Date(), nullable=True))
