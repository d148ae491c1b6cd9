"""The heartbeat by which gateways on one database detect each other. Also releases rows claimed by silent gateways."""

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
from hkall_gateway.db.engine.locks import LockSet, unlocked
from hkall_gateway.db.instances import GONE_S, STATES, Instance
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.observability.metrics import Metrics

LOG = structlog.get_logger()

BEAT_S: Final = 15
POLL_S: Final = 0.2
_OWN_ROW: Final = unlocked("only this gateway writes its row; what silent gateways claimed is released by one UPDATE")
"""Seconds between two checks whether our name is free."""
STEP_S: Final = 2.0
"""Minimum difference in seconds by which a clock counts as set, larger than the difference that slewing can cause."""
BEHIND: Final = timedelta(minutes=5)
"""Maximum time by which our clock may be behind another gateway's latest heartbeat."""


PAGES: Final = "-web"
"""Suffix for the name of a process that serves only the web pages."""

Report = Callable[[datetime], Callable[[UnitOfWork], None]]
"""Function, called in the reactor's thread, that returns a function to write additional rows with the heartbeat."""


def no_report(_now: datetime) -> Callable[[UnitOfWork], None]:
    """Return a function that writes nothing."""
    return lambda _unit: None


class NameTaken(Exception):
    """Another gateway uses this database under our name, so each gateway would process rows claimed by the other."""


class FileTaken(Exception):
    """Another gateway that serves terminals and partners uses the same SQLite file."""


def serves_protocols(name: str) -> bool:
    """Check by name whether a gateway serves terminals and partners rather than only the web pages."""
    return not name.endswith(PAGES)


def only_one(first: Instance) -> str:
    """Return the remedy for a second gateway that would use the SQLite file of `first`."""
    return f"stop {first.name}, use PostgreSQL for several gateways, or serve the pages alone here (serve --only web)"


OTHER_NAME: Final = "give this one another HKALL_INSTANCE"
"""Remedy for a second gateway with the same name."""


def describe_rival(first: Instance) -> str:
    """Describe the running gateway that keeps a second gateway from starting."""
    return f"a gateway called {first.name} works on this database (process {first.pid} on {first.host})"


def find_clock_fault(seen: Iterable[Instance], now: datetime) -> tuple[str, str] | None:
    """Return a clock fault and the remedy, or None if no gateway was seen much later than `now`.

    A gateway whose clock is behind would date loans wrongly, and other gateways would consider it gone.
    """
    latest = max(seen, key=lambda one: one.seen_at, default=None)
    if latest is None or latest.seen_at <= now + BEHIND:
        return None
    here, there = f"{now:%Y-%m-%d %H:%M}", f"{latest.seen_at:%Y-%m-%d %H:%M}"
    what = f"the clock of this machine says {here} UTC, gateway {latest.name} on {latest.host} was seen at {there}"
    return what, "set the clock (timedatectl); if that one's was wrong, start with HKALL_TRUST_CLOCK=1"


class ClockBehind(Exception):
    """Another gateway was last seen at a time in our future, so one of the two clocks is wrong."""


class Heartbeat:
    """Writes a heartbeat for `me` every BEAT_S seconds, and counts the gateways on the database.

    Attributes:
        runs: Returns whether a process runs on this machine. After a crash, our name is still registered but may be reused.
        trust_clock: Whether to start even if another gateway's last heartbeat is later than our clock.
        report: Returns a function that writes additional rows with each heartbeat.
        alone: Whether to refuse to start beside another gateway that serves terminals and partners, as on an SQLite file.
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
        """Whether the last heartbeat was written. If the disk is full, writes fail although queries succeed."""

    async def start(self, patience_s: float = 0.0) -> None:
        """Register this gateway, then write a heartbeat every BEAT_S seconds.

        Wait up to `patience_s` seconds for another gateway with our name to exit. Raises NameTaken, FileTaken or ClockBehind.
        """
        seen = await self._store.read(instances.list_instances, is_long=True)
        if not self._trust_clock and (fault := find_clock_fault(seen, self._now())):
            raise ClockBehind(": ".join(fault))
        one = LockSet(document=("gateway", self._me.name))  # prevents two gateways from taking the name at the same time
        end_s = self._clock.seconds() + patience_s
        while True:
            other = await self._store.write(bind(_register, self._me, self._now(), self._runs, self._alone), one)
            if other is None or self._clock.seconds() >= end_s:
                break
            await pause(self._clock, POLL_S)
        if other is not None and other.name != self._me.name:
            raise FileTaken(f"{describe_rival(other)}: {only_one(other)}")
        if other is not None:
            raise NameTaken(f"{describe_rival(other)}: {OTHER_NAME}")
        await self.beat()
        self._schedule_beat()

    async def tell_ports(self, ports: Iterable[int]) -> None:
        """Write the ports that this gateway has opened, so that checks can tell them from those of other programs."""
        self._me = replace(self._me, ports=" ".join(map(str, sorted({*ports}))))
        await self.beat()

    async def stop(self) -> None:
        """Sign off, so that our claimed rows are released. Do nothing unless `start` has registered this gateway."""
        if self._timer is None:
            return
        cancel(self._timer)
        self._timer = None
        now = self._now()
        try:
            me = replace(self._me, seen_at=now, left_at=now)
            await self._store.write(bind(instances.record_instance, me), _OWN_ROW)
        except Unavailable:  # the other gateways will notice the missing heartbeat
            LOG.warning("instance.left_unseen")

    async def beat(self) -> None:
        """Write a heartbeat, and release rows claimed by silent gateways."""
        now = self._now()
        back = self._clock_step_s(now) <= -STEP_S
        me, silent = replace(self._me, seen_at=now), self._silent_gateways() if self._stepped else None
        try:
            beat = bind(_write_beat, me, now, self._report(now), back, silent)
            freed, everyone = await self._store.write(beat, _OWN_ROW)
        except Unavailable:  # the cause has already been logged
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
        """Return by how many seconds the clock was set since the last heartbeat, negative if set back. Log such a step."""
        seconds, last = self._clock.seconds(), self._last
        self._last = (now, seconds)
        step_s = (now - last[0]).total_seconds() - (seconds - last[1]) if last else 0.0
        if abs(step_s) >= STEP_S:
            self._stepped = True
            LOG.warning("clock.stepped", step_s=round(step_s, 1))
        return step_s

    def _silent_gateways(self) -> frozenset[str]:
        """Return the gateways without a new heartbeat for GONE_S seconds, measured by the monotonic clock."""
        until_s = self._clock.seconds() - GONE_S
        return frozenset(name for name, (_, at_s) in self._changed.items() if at_s < until_s)

    def _schedule_beat(self) -> None:
        self._timer = self._clock.callLater(BEAT_S, self._beat_now)

    def _beat_now(self) -> None:
        _ = ensureDeferred(self.beat())
        self._schedule_beat()


def _register(unit: UnitOfWork, me: Instance, now: datetime, runs: Callable[[int], bool], alone: bool) -> Instance | None:
    """Register this gateway, or return a running gateway with the same name or, if `alone`, one that serves protocols."""
    for other in instances.list_instances(unit):
        rival = other.name == me.name or (alone and serves_protocols(other.name))
        if rival and other.state(now) == "up" and _is_alive_elsewhere(other, me, runs):
            return other
    instances.record_instance(unit, me)
    return None


def _is_alive_elsewhere(other: Instance, me: Instance, runs: Callable[[int], bool]) -> bool:
    """Check whether another gateway may be alive. On this machine, a process other than ours must be running."""
    return other.host != me.host or (other.pid != me.pid and runs(other.pid))


def after_step_back(unit: UnitOfWork, now: datetime) -> None:
    """Bring forward retries that were scheduled before the clock was set back."""
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
    """Write a heartbeat and release silent gateways' rows. Return the number of released rows, and all gateways."""
    instances.record_instance(unit, me)
    report(unit)
    if back:
        after_step_back(unit, now)
    return instances.release_work(unit, now, silent), instances.list_instances(unit)
