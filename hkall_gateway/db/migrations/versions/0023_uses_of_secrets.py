"""when each secret of a partner or client was last used"""

from alembic import op

from hkall_gateway.db.tables import instants, keys

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    op.create_table(
        "secret_uses",
        *keys("agency", "variable"),
        *instants("at"),
        comment="When a partner or client last sent the secret in this variable, written with the gateways' heartbeat.",
    )
