"""The gateways on one database: who is there, who left, and what becomes of the work of those that are gone."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, or_, select, update

from hkall_gateway.store.queries.overview import Overview
from hkall_gateway.store.tables import INSTANCES, JOBS, OUTBOX
from hkall_gateway.store.unit import Unit
from hkall_gateway.store.upsert import insert_or_write_over

I = INSTANCES.c  # noqa: E741  # as the other tables' columns are named

STATES: Final = ("up", "left", "gone")
GONE_S: Final = 60
"""A gateway that was not heard of for so many seconds is gone: its work is handed on."""
FORGOTTEN: Final = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Instance:
    """One gateway. It has its name on the database alone; `left_at` once it said good-bye."""

    name: str
    host: str
    pid: int
    version: str
    since: datetime
    seen_at: datetime
    left_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """up, left (it stopped as it should), or gone (it fell silent)."""
        if self.left_at is not None:
            return "left"
        return "gone" if self.seen_at < _silent_since(now) else "up"


def everyone(unit: Overview) -> tuple[Instance, ...]:
    """All gateways that were heard of in the last month, by name."""
    return tuple(Instance(**row) for row in unit.execute(select(INSTANCES).order_by(I.name)).mappings())


def named(unit: Overview, name: str) -> Instance | None:
    """The gateway of a name."""
    row = unit.execute(select(INSTANCES).where(I.name == name)).mappings().first()
    return Instance(**row) if row else None


def here(unit: Unit, me: Instance) -> None:
    """It is there, and was seen at `me.seen_at`; whoever had its name before is forgotten."""
    values = asdict(me)
    unit.execute(insert_or_write_over(INSTANCES, unit.dialect, values), values)


def hand_on(unit: Unit, now: datetime) -> int:
    """What gateways that are gone had in hand is free for any other, their rounds too; how many messages that were."""
    absent = or_(I.seen_at < _silent_since(now), I.left_at.is_not(None))
    unit.execute(delete(INSTANCES).where(I.seen_at < now - FORGOTTEN))
    gone = [str(name) for name in unit.execute(select(I.name).where(absent)).scalars()]
    held = select(OUTBOX.c.id).where(OUTBOX.c.lease_until.is_not(None), OUTBOX.c.claimed_by.in_(gone))
    if unit.dialect != "sqlite":
        held = held.with_for_update(skip_locked=True)  # another gateway may be handing them on at this moment
    rows = list(unit.execute(held).scalars()) if gone else []
    unit.outbox.interrupted(rows, now)
    if gone:
        unit.execute(update(JOBS).where(JOBS.c.claimed_by.in_(gone)).values(claimed_by="", lease_until=None))
    return len(rows)


def _silent_since(now: datetime) -> datetime:
    return now - timedelta(seconds=GONE_S)
