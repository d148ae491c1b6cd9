"""the facets of titles as codes, which a search in SQLite reads at once"""

from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    op.execute("DROP INDEX ix_titles_facets")  # no release has used this index of revision 0016
    if op.get_bind().dialect.name == "sqlite":  # filled with the words of the titles
        op.execute("CREATE TABLE title_facet_sets (code INTEGER PRIMARY KEY, facets TEXT NOT NULL UNIQUE)")
        op.execute("CREATE TABLE title_facets (chunk INTEGER PRIMARY KEY, codes BLOB NOT NULL)")
