"""The rows about terminals that a gateway writes with its heartbeat."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

from hkall_gateway.db.terminal_activity import TerminalActivity
from hkall_gateway.sip2.activity import NOTHING_YET, UNKNOWN
from hkall_gateway.sip2.dispatch import Sip2Services


def terminals_seen(instance: str, services: Sip2Services, logins: Iterable[str], now: datetime) -> tuple[TerminalActivity, ...]:
    """Return a row for each terminal of the configuration, and one for unknown names if any was refused.

    `logins` are those of the open connections, one each.
    """
    connected, heard = Counter(logins), services.activity.rows
    names = [*services.terminals, *([UNKNOWN] if UNKNOWN in heard else [])]
    return tuple(_row(instance, services, name, connected[name] if name else 0, now) for name in names)


def _row(instance: str, services: Sip2Services, name: str, connections: int, now: datetime) -> TerminalActivity:
    row, heard = services.terminals.get(name), services.activity.rows.get(name, NOTHING_YET)
    return TerminalActivity(
        instance=instance,
        login=name,
        role=row.role if row else "",
        location=row.location if row else "",
        connections=connections,
        last_code=heard.last_code,
        last_at=heard.last_at,
        refused=heard.refused,
        refused_why=heard.refused_why,
        refused_at=heard.refused_at,
        seen_at=now,
    )
