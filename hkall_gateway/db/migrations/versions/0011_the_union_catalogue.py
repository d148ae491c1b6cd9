"""titles of the union catalogue, with their search index"""

import sqlalchemy as sa
from alembic import op

from hkall_gateway.db.tables import SearchVector

revision = "0011"
down_revision = "0010"

SEARCH_INDEX = {
    "sqlite": "CREATE VIRTUAL TABLE IF NOT EXISTS title_words USING fts5(title, author, isbn, call, tokenize = 'ascii')",
    "postgresql": "CREATE INDEX ix_titles_words ON titles USING gin (words)",
}


def upgrade() -> None:
    by_code_point = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "titles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("bib_id", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("author", sa.Text(), server_default="", nullable=False),
        sa.Column("linked_title", sa.Text(), server_default="", nullable=False),
        sa.Column("linked_author", sa.Text(), server_default="", nullable=False),
        sa.Column("isbns", sa.Text(), server_default="", nullable=False),
        sa.Column("language", sa.Text(), server_default="", nullable=False),
        sa.Column("published", sa.Text(), server_default="", nullable=False),
        sa.Column("title_key", by_code_point, server_default="", nullable=False),
        sa.Column("linked_key", by_code_point, server_default="", nullable=False),
        sa.Column("author_key", by_code_point, server_default="", nullable=False),
        sa.Column("digest", sa.Text(), server_default="", nullable=False),
        sa.Column("words", sa.Text().with_variant(SearchVector(), "postgresql"), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_titles")),
        sa.UniqueConstraint("bib_id", name=op.f("uq_titles_bib_id")),
        comment="Titles of the union catalogue with their search words: one row for each `bib_id` of the holdings.",
    )
    linked = sa.text("linked_key <> ''")
    op.create_index("ix_titles_title_key", "titles", ["title_key", "author_key", "bib_id"])
    op.create_index(
        "ix_titles_linked_key",
        "titles",
        ["linked_key", "author_key", "bib_id"],
        sqlite_where=linked,
        postgresql_where=linked,
    )
    op.execute(SEARCH_INDEX[op.get_bind().dialect.name])
