"""marks of erased patrons, and the archives that purge wrote"""

from alembic import op

from hkall_gateway.db.tables import instants, keys, texts

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "archives",
        *keys("path"),
        *instants("written_at"),
        comment="The archive files that `purge` wrote, with the time of the last write, so that an erasure reads all of them.",
    )
    op.create_table(
        "erased",
        *keys("mark"),
        *texts("salt", "key"),
        *instants("at"),
        comment="One mark for each erased card: a slow hash of the card under `salt` and the key with the fingerprint `key`. "
        "A restore compares its cards with the marks and erases those that match again.",
    )
