"""titles of the union catalogue, with their search index"""

import sqlalchemy as sa
from alembic import op

from hkall_gateway.db.tables import SearchVector, partial_index, sort_keys, texts

revision = "0011"
down_revision = "0010"

SEARCH_INDEX = {
    "sqlite": "CREATE VIRTUAL TABLE IF NOT EXISTS title_words USING fts5(title, author, isbn, call, tokenize = 'ascii')",
    "postgresql": "CREATE INDEX ix_titles_words ON titles USING gin (words)",
}


def upgrade() -> None:
    op.create_table(
        "titles",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("bib_id", sa.Text(), nullable=False),
        *texts("title", "author", "linked_title", "linked_author", "isbns", "language", "published"),
        *sort_keys("title_key", "linked_key", "author_key"),
        *texts("digest"),
        sa.Column("words", sa.Text().with_variant(SearchVector(), "postgresql"), nullable=True),
        sa.UniqueConstraint("bib_id"),
        sa.Index("ix_titles_title_key", "title_key", "author_key", "bib_id"),
        partial_index("ix_titles_linked_key", "linked_key", "author_key", "bib_id", where=sa.text("linked_key <> ''")),
        comment="Titles of the union catalogue with their search words: one row for each `bib_id` of the holdings.",
    )
    op.execute(SEARCH_INDEX[op.get_bind().dialect.name])
