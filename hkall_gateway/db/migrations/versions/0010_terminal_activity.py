"""terminals of each gateway"""

from alembic import op

from hkall_gateway.db.tables import instants, keys, maybe_instants, numbers, texts

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_table(
        "terminal_activity",
        *keys("instance", "login"),
        *texts("role", "location"),
        *numbers("connections"),
        *texts("last_code"),
        *maybe_instants("last_at"),
        *numbers("refused"),
        *texts("refused_why"),
        *maybe_instants("refused_at"),
        *instants("seen_at"),
        comment="Each terminal at each gateway, written with the gateway's heartbeat: its open connections, its last message, and "
        "its refused logins since the gateway's start.",
    )
