"""Checks which of two secrets a partner or client uses while one is replaced by the other."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.app.start_checks.database import open_to_read
from hkall_gateway.cli.doctor.findings import Sheet
from hkall_gateway.config.gateway import GatewayConfig, PeerConfig
from hkall_gateway.db import instances
from hkall_gateway.db.instances import SecretUses

CHECK: Final = "secrets"
STILL_NEEDED: Final = timedelta(days=1)
"""Time after its last use for which a secret is kept, because a peer may have several programs, and repeats documents."""


def check_secrets(sheet: Sheet, config: GatewayConfig, now: datetime) -> None:
    """Add the finding about each peer with two secrets. The database is at the revision of this program."""
    peers: tuple[PeerConfig, ...] = (*config.partners, *config.clients)
    with_two = [peer for peer in peers if len(peer.secret_env) > 1]
    if not with_two:
        sheet.ok(CHECK, "nobody has two secrets at present")
        return
    engine = open_to_read(config.database)
    try:
        with engine.connect() as connection:
            uses = instances.secret_uses(connection)
    finally:
        engine.dispose()
    for peer in with_two:
        judge_secrets(sheet, peer, uses, now)


def judge_secrets(sheet: Sheet, peer: PeerConfig, uses: SecretUses, now: datetime) -> None:
    """Add the finding about a peer with two secrets."""
    first, second = (
        (f"the {place} ({variable})", uses.get((peer.agency, variable)))
        for place, variable in zip(("first", "second"), peer.secret_env, strict=True)
    )
    used = [named for named in (first, second) if named[1] is not None]
    if not used:
        sheet.warn(CHECK, "it has sent neither of its two secrets: both are needed", about=peer.agency)
        return
    last_name, last_at = max(used, key=lambda named: str(named[1]))
    other_name, other_at = second if last_name == first[0] else first
    sent = f"it sent {last_name} last, on {last_at:%Y-%m-%d %H:%M} UTC"
    if other_at is None:
        sheet.ok(CHECK, f"{sent}, and never {other_name}", about=peer.agency)
        return
    needed_until = other_at + STILL_NEEDED
    if now < needed_until:
        until = f"{needed_until:%Y-%m-%d %H:%M} UTC"
        sheet.ok(CHECK, f"{sent}; {other_name} is needed until {until}", about=peer.agency)
    else:
        since = f"{other_at:%Y-%m-%d %H:%M} UTC"
        sheet.warn(CHECK, f"{sent}; {other_name} was not sent since {since}, and may go", about=peer.agency)
