"""facets of titles, and the vocabulary for corrections of spelling"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("titles", sa.Column("year", sa.Integer(), server_default="0", nullable=False))
    op.add_column("titles", sa.Column("facets", sa.Text(), server_default="", nullable=False))
    op.create_index("ix_titles_year", "titles", ["year", "id"])
    op.create_index("ix_titles_facets", "titles", ["id", "facets"])
    op.create_table(
        "vocabulary",
        sa.Column("word", sa.Text().with_variant(sa.Text(collation="C"), "postgresql"), primary_key=True),
        comment="Words of titles and authors, among which a search looks for the right spelling. Words are not deleted.",
    )
