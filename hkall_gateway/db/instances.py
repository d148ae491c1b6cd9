"""The gateway instances on one database: running, stopped or failed, and the release of work held by failed ones."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, or_, select, update

from hkall_gateway.db.engine.upsert import insert_or_write_over
from hkall_gateway.db.queries.queries import Queries
from hkall_gateway.db.tables import INSTANCES, JOBS, OUTBOX
from hkall_gateway.db.unit import Unit

I = INSTANCES.c  # noqa: E741  # as the other tables' columns are named

STATES: Final = ("up", "left", "gone")
GONE_S: Final = 60
"""Seconds without a heartbeat after which a gateway counts as gone, and its work is released."""
FORGOTTEN: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Instance:
    """One gateway. Its name is unique on the database; `left_at` is set once it has stopped in order."""

    name: str
    host: str
    pid: int
    version: str
    since: datetime
    seen_at: datetime
    left_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """Return up, left (stopped in order), or gone (no heartbeat)."""
        if self.left_at is not None:
            return "left"
        return "gone" if self.seen_at < _silent_since(now) else "up"


def everyone(unit: Queries) -> tuple[Instance, ...]:
    """Return all gateways seen in the last month, by name."""
    return tuple(Instance(**row) for row in unit.execute(select(INSTANCES).order_by(I.name)).mappings())


def named(unit: Queries, name: str) -> Instance | None:
    """Return the gateway of a name."""
    row = unit.execute(select(INSTANCES).where(I.name == name)).mappings().first()
    return Instance(**row) if row else None


def here(unit: Unit, me: Instance) -> None:
    """Record that this gateway runs, seen at `me.seen_at`; overwrites an earlier row with its name."""
    values = asdict(me)
    unit.execute(insert_or_write_over(INSTANCES, unit.dialect, values), values)


def hand_on(unit: Unit, now: datetime, silent: Collection[str] | None = None) -> int:
    """Release the messages and rounds held by gateways that are gone; return the number of messages.

    Args:
        silent: The names of those that are gone; None to judge by the age of their heartbeats.
    """
    is_silent = I.seen_at < _silent_since(now) if silent is None else I.name.in_(silent)
    absent = or_(is_silent, I.left_at.is_not(None))
    unit.execute(delete(INSTANCES).where(I.seen_at < now - FORGOTTEN))
    gone = [str(name) for name in unit.execute(select(I.name).where(absent)).scalars()]
    held = select(OUTBOX.c.id).where(OUTBOX.c.lease_until.is_not(None), OUTBOX.c.claimed_by.in_(gone))
    if unit.dialect != "sqlite":
        held = held.with_for_update(skip_locked=True)  # another gateway may be releasing them at this moment
    rows = list(unit.execute(held).scalars()) if gone else []
    unit.outbox.interrupted(rows, now)
    if gone:
        unit.execute(update(JOBS).where(JOBS.c.claimed_by.in_(gone)).values(claimed_by="", lease_until=None))
    return len(rows)


def _silent_since(now: datetime) -> datetime:
    return now - timedelta(seconds=GONE_S)
