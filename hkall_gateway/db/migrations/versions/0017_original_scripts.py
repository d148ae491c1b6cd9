"""the titles of requests in the original script"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.add_column("requests", sa.Column("linked_title", sa.Text(), server_default="", nullable=False))
    # Ended requests keep the title that they were stored with: there may be millions.
    op.execute(
        "UPDATE requests SET linked_title = (SELECT linked_title FROM titles WHERE titles.bib_id = requests.bib_id) "
        "WHERE stage <> 'ended' AND EXISTS (SELECT 1 FROM titles WHERE titles.bib_id = requests.bib_id AND linked_title <> '')"
    )
