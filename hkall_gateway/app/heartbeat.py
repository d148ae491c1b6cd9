"""The heartbeat of this gateway among those on one database; frees the rows claimed by silent gateways."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

import structlog
from twisted.internet.defer import ensureDeferred

from hkall_gateway.circulation.command import pause
from hkall_gateway.clock import Clock, ScheduledCall, cancel
from hkall_gateway.db import bind, instances
from hkall_gateway.db.database import Store
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.instances import GONE_S, STATES, Instance
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.observability.metrics import Metrics

LOG = structlog.get_logger()

BEAT_S: Final = 15
LOOK_S: Final = 0.2
"""Seconds between two looks whether our name has become free."""
STEP_S: Final = 2.0
"""A difference between the time of day and the monotonic clock, from one heartbeat to the next, that no slewing makes."""
BEHIND: Final = timedelta(minutes=5)
"""So far our clock may be behind the latest sign of life of another gateway."""


PAGES: Final = "-web"
"""Ends the name of a process that serves the pages alone."""

Report = Callable[[datetime], Callable[[UnitOfWork], None]]
"""Returns what a heartbeat writes beside its own row; called in the reactor's thread, what it returns in the transaction."""


def no_report(_now: datetime) -> Callable[[UnitOfWork], None]:
    """Return a unit that writes no row."""
    return lambda _unit: None


class NameTaken(Exception):
    """Another gateway uses this database under our name; both would take each other's rows."""


class FileTaken(Exception):
    """Another gateway with terminals and partners works on the same SQLite file."""


def serves_protocols(name: str) -> bool:
    """Return whether a gateway of this name serves terminals and partners; the pages alone are named otherwise."""
    return not name.endswith(PAGES)


def only_one(first: Instance) -> str:
    """Return the remedy if a second gateway would work on the SQLite file of the `first`."""
    return f"stop {first.name}, use PostgreSQL for several gateways, or serve the pages alone here (serve --only web)"


OTHER_NAME: Final = "give this one another HKALL_INSTANCE"
"""The remedy if a second gateway has the name of the first."""


def describe_rival(first: Instance) -> str:
    """Return what keeps a second gateway from starting."""
    return f"a gateway called {first.name} works on this database (process {first.pid} on {first.host})"


def find_clock_fault(seen: Iterable[Instance], now: datetime) -> tuple[str, str] | None:
    """Return what is wrong with this machine's clock, and the remedy; None if no gateway was seen much later than now.

    A gateway with a clock that is behind would date loans wrongly, and the others would count as gone.
    """
    latest = max(seen, key=lambda one: one.seen_at, default=None)
    if latest is None or latest.seen_at <= now + BEHIND:
        return None
    here, there = f"{now:%Y-%m-%d %H:%M}", f"{latest.seen_at:%Y-%m-%d %H:%M}"
    what = f"the clock of this machine says {here} UTC, gateway {latest.name} on {latest.host} was seen at {there}"
    return what, "set the clock (timedatectl); if that one's was wrong, start with HKALL_TRUST_CLOCK=1"


class ClockBehind(Exception):
    """Another gateway was seen at a time that our clock has not reached: one of the two clocks is wrong."""


class Heartbeat:
    """Writes a heartbeat for `me` every BEAT_S seconds, and counts the other gateways.

    Attributes:
        runs: Returns whether a process of this machine runs: after a crash our own name is still in the table, and free.
        trust_clock: Begin even if another gateway was seen later than it is now.
        report: What else each heartbeat writes.
        alone: Begin only if no other gateway serves terminals and partners, as on an SQLite file.
    """

    def __init__(
        self,
        store: Store,
        me: Instance,
        clock: Clock,
        now: Callable[[], datetime],
        runs: Callable[[int], bool],
        metrics: Metrics,
        trust_clock: bool = False,
        report: Report = no_report,
        alone: bool = False,
    ) -> None:
        self._store, self._me, self._clock, self._now, self._runs = store, me, clock, now, runs
        self._metrics, self._trust_clock, self._report, self._alone = metrics, trust_clock, report, alone
        self._timer: ScheduledCall | None = None
        self._last: tuple[datetime, float] | None = None
        self._stepped = False
        self._changed: dict[str, tuple[datetime, float]] = {}
        self.written = True
        """Whether the last heartbeat was written; a full disk refuses writes but still answers queries."""

    async def start(self, patience_s: float = 0.0) -> None:
        """Register this gateway, then write a heartbeat every BEAT_S seconds.

        Raises NameTaken, FileTaken and ClockBehind.

        Args:
            patience_s: Seconds that another gateway of our name, which is about to end, may keep it.
        """
        seen = await self._store.read(instances.list_instances, is_long=True)
        if not self._trust_clock and (fault := find_clock_fault(seen, self._now())):
            raise ClockBehind(": ".join(fault))
        one = LockSet(document=("gateway", self._me.name))  # two that start at once do not both find the name free
        end_s = self._clock.seconds() + patience_s
        while True:
            other = await self._store.write(bind(_register, self._me, self._now(), self._runs, self._alone), one)
            if other is None or self._clock.seconds() >= end_s:
                break
            await pause(self._clock, LOOK_S)
        if other is not None and other.name != self._me.name:
            raise FileTaken(f"{describe_rival(other)}: {only_one(other)}")
        if other is not None:
            raise NameTaken(f"{describe_rival(other)}: {OTHER_NAME}")
        await self.beat()
        self._schedule_beat()

    async def stop(self) -> None:
        """Sign off; rows claimed in our name become free. It has no effect unless `start` has registered us."""
        if self._timer is None:
            return
        cancel(self._timer)
        self._timer = None
        now = self._now()
        try:
            await self._store.write(bind(instances.record_instance, replace(self._me, seen_at=now, left_at=now)))
        except Unavailable:  # the other gateways will notice the missing heartbeat
            LOG.warning("instance.left_unseen")

    async def beat(self) -> None:
        """Write a heartbeat and free the rows claimed by silent gateways."""
        now = self._now()
        back = self._clock_step_s(now) <= -STEP_S
        me, silent = replace(self._me, seen_at=now), self._silent_gateways() if self._stepped else None
        try:
            freed, everyone = await self._store.write(bind(_write_beat, me, now, self._report(now), back, silent))
        except Unavailable:  # the store has said why
            self.written = False
            return
        except Exception:
            self.written = False
            LOG.exception("instance.beat_failed")
            return
        self.written = True
        for one in everyone:
            if self._changed.get(one.name, (None, 0.0))[0] != one.seen_at:
                self._changed[one.name] = (one.seen_at, self._clock.seconds())
        states = Counter(one.state(now) for one in everyone)
        for state in STATES:
            self._metrics.gateways.labels(state).set(states[state])
        if freed:
            LOG.warning("instance.took_over", rows=freed)

    def _clock_step_s(self, now: datetime) -> float:
        """Return and log the seconds by which the time of day was set since the last heartbeat; negative for back."""
        seconds, last = self._clock.seconds(), self._last
        self._last = (now, seconds)
        step_s = (now - last[0]).total_seconds() - (seconds - last[1]) if last else 0.0
        if abs(step_s) >= STEP_S:
            self._stepped = True
            LOG.warning("clock.stepped", step_s=round(step_s, 1))
        return step_s

    def _silent_gateways(self) -> frozenset[str]:
        """Return the gateways whose heartbeats have not changed for GONE_S seconds, by the monotonic clock.

        After a change of the time of day, that does not tell how long another gateway has been silent.
        """
        until_s = self._clock.seconds() - GONE_S
        return frozenset(name for name, (_, at_s) in self._changed.items() if at_s < until_s)

    def _schedule_beat(self) -> None:
        self._timer = self._clock.callLater(BEAT_S, self._beat_now)

    def _beat_now(self) -> None:
        ensureDeferred(self.beat())
        self._schedule_beat()


def _register(unit: UnitOfWork, me: Instance, now: datetime, runs: Callable[[int], bool], alone: bool) -> Instance | None:
    """Register under our name; return the gateway that has the name or, if we must be alone, the database already."""
    for other in instances.list_instances(unit):
        rival = other.name == me.name or (alone and serves_protocols(other.name))
        if rival and other.state(now) == "up" and _is_alive_elsewhere(other, me, runs):
            return other
    instances.record_instance(unit, me)
    return None


def _is_alive_elsewhere(other: Instance, me: Instance, runs: Callable[[int], bool]) -> bool:
    """Return whether the other gateway is alive.

    A process of this machine that does not run has crashed, and so has one with our own id.
    """
    return other.host != me.host or (other.pid != me.pid and runs(other.pid))


def after_step_back(unit: UnitOfWork, now: datetime) -> None:
    """Make due what waits for a time that the clock showed before it was set back."""
    unit.outbox.bring_forward(now)
    unit.circuits.bring_forward(now)


def _write_beat(
    unit: UnitOfWork,
    me: Instance,
    now: datetime,
    report: Callable[[UnitOfWork], None],
    back: bool,
    silent: Collection[str] | None,
) -> tuple[int, tuple[Instance, ...]]:
    """Write a heartbeat; `back` says that the clock was set back."""
    instances.record_instance(unit, me)
    report(unit)
    if back:
        after_step_back(unit, now)
    return instances.release_work(unit, now, silent), instances.list_instances(unit)
