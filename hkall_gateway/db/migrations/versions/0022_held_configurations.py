"""what configuration each gateway holds"""

from alembic import op

from hkall_gateway.db.tables import instants, keys, texts

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    op.create_table(
        "held_configurations",
        *keys("instance"),
        *instants("at"),
        *texts("fingerprints"),
        comment="What configuration each gateway holds since `at`, as keyed fingerprints by key, without any value.",
    )
