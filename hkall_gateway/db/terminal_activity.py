"""The terminals of each gateway: open connections, last message, refused logins. Written with the heartbeat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, insert, or_, select

from hkall_gateway.db.queries.queries import Queries
from hkall_gateway.db.tables import TERMINAL_ACTIVITY
from hkall_gateway.db.unit import Unit

T = TERMINAL_ACTIVITY.c
FORGOTTEN: Final = timedelta(days=30)
"""Rows of a gateway that was not seen for so long are deleted by any other one."""


@dataclass(frozen=True, slots=True)
class TerminalActivity:
    """One terminal at one gateway, as of `seen_at`. `login` is "" for refused logins under unknown names.

    `refused` counts since the start of the gateway's process.
    """

    instance: str
    login: str
    role: str
    location: str
    connections: int
    last_code: str
    last_at: datetime | None
    refused: int
    refused_why: str
    refused_at: datetime | None
    seen_at: datetime


def write(unit: Unit, instance: str, rows: Sequence[TerminalActivity], now: datetime) -> None:
    """Replace the rows of a gateway."""
    unit.execute(delete(TERMINAL_ACTIVITY).where(or_(T.instance == instance, T.seen_at < now - FORGOTTEN)))
    if rows:
        unit.execute(insert(TERMINAL_ACTIVITY), [asdict(row) for row in rows])


def everyone(unit: Queries) -> tuple[TerminalActivity, ...]:
    """Return the terminals of all gateways, by login."""
    found = unit.execute(select(TERMINAL_ACTIVITY).order_by(T.login, T.instance)).mappings()
    return tuple(TerminalActivity(**row) for row in found)
