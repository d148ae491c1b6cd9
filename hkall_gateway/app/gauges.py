"""Reads gauges from the database for each collection, so that all gateways export the same values, and counts other metrics."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import structlog
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from hkall_gateway.circulation.jobs.rounds import ROUNDS
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.clock import Clock, ScheduledCall
from hkall_gateway.db import instances, partners, rounds
from hkall_gateway.db.database import Watch
from hkall_gateway.db.instances import TerminalActivity
from hkall_gateway.db.journal import JournalEntry
from hkall_gateway.db.loads import loading
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.db.queries import cli_lists
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.observability.metrics import NAMESPACE, Metrics
from hkall_gateway.rules import dates
from hkall_gateway.rules.circuit import UP, CircuitState, circuit
from hkall_gateway.rules.lender_reasons import LENDER_REASONS, OTHER
from hkall_gateway.rules.lifecycle import Event, side_of
from hkall_gateway.rules.positions import BORROWING, FINAL, LENDING
from hkall_gateway.rules.stored_words import OutboxState
from hkall_gateway.rules.vocabulary import Position, Side
from hkall_gateway.sip2.dispatch import Sip2Services
from hkall_gateway.sip2.exchange import UNKNOWN_NAMES, LastHeard

LOG = structlog.get_logger()

EVENTS = frozenset(event.name for event in Event)
DECLINES = frozenset(
    event.name for event in (Event.ASK_NEXT, Event.ASK_NEXT_AFTER_SILENCE, Event.NOT_SENT, Event.POSTPONE, Event.END_OF_LIST)
)


def count_moves(metrics: Metrics, moves: Sequence[JournalEntry]) -> None:
    """Count moves, ended requests and declined requests, and observe how long requests stayed in a position."""
    for move in moves:
        if move.outcome != "ok":
            continue
        metrics.transitions.labels(move.source, move.target).inc()
        if move.event in EVENTS and move.target in FINAL and move.source != move.target:
            metrics.requests.labels(side_of(Event[move.event]), move.partner, move.target).inc()
        if move.before is not None and move.after is not None:
            before, after = move.before, move.after
            if before.position is not after.position and before.moved_at and after.moved_at:
                metrics.ages.labels(before.position).observe((after.moved_at - before.moved_at).total_seconds())
            if move.event in DECLINES:
                metrics.declines.labels(before.partner, after.reason if after.reason in LENDER_REASONS else OTHER).inc()


def counting_carrier(
    metrics: Metrics, deliver: Callable[[OutboxRow], Awaitable[DeliveryResult]]
) -> Callable[[OutboxRow], Awaitable[DeliveryResult]]:
    """Wrap a carrier to count the result of each attempt."""

    async def delivered(row: OutboxRow) -> DeliveryResult:
        answer = await deliver(row)
        metrics.notices.labels(row.send, answer.kind).inc()
        return answer

    return delivered


def expiry_reporter(metrics: Metrics, protocol: str) -> Callable[[str], None]:
    """Return a function that counts and logs an expired command with the reason ("late" or "gone")."""

    def note(why: str) -> None:
        metrics.commands_expired.labels(protocol, why).inc()
        LOG.warning("command.expired", why=why)

    return note


def measure_groups(metrics: Metrics, seconds: Callable[[], float]) -> Watch:
    """Return a function with which `Database` measures the size and duration of each group of units of work."""

    @contextmanager
    def watch(lane: str, units: int) -> Iterator[None]:
        began = seconds()
        yield
        metrics.group_units.labels(lane).observe(units)
        metrics.db_latency.labels(lane).observe(seconds() - began)

    return watch


BEAT_S: Final = 0.05
"""Seconds between measurements, short enough to catch brief stalls, and long enough to cost no measurable time."""


class Pulse:
    """Measures `reactor_lag_seconds`, the delay of the reactor's timers, every BEAT_S seconds."""

    def __init__(self, clock: Clock, metrics: Metrics) -> None:
        self._clock, self._metrics = clock, metrics
        self._due = 0.0
        self._timer: ScheduledCall | None = None

    def start(self) -> None:
        """Schedule the next measurement."""
        self._due = self._clock.seconds() + BEAT_S
        self._timer = self._clock.callLater(BEAT_S, self._ring)

    def stop(self) -> None:
        """Stop measuring, if started."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._metrics.reactor_lag.observe(max(0.0, self._clock.seconds() - self._due))
        self.start()


def terminals_seen(instance: str, services: Sip2Services, logins: Iterable[str], now: datetime) -> tuple[TerminalActivity, ...]:
    """Return a row for each terminal, and a row for refused unknown names. `logins` has the login of each open connection."""
    connected, activity = Counter(logins), services.activity.rows
    rows = [(name, row.role, row.location, connected[name]) for name, row in services.terminals.items()]
    rows += [(UNKNOWN_NAMES, "", "", 0)] if UNKNOWN_NAMES in activity else []
    return tuple(
        TerminalActivity(
            instance=instance,
            login=name,
            role=role,
            location=location,
            connections=connections,
            seen_at=now,
            **asdict(activity.get(name, LastHeard())),
        )
        for name, role, location, connections in rows
    )


Rows = Mapping[tuple[str, ...], float]
"""The series of a gauge: label values -> value."""

SELDOM: Final = timedelta(minutes=5)
CIRCUIT: Final = {"closed": 0, "half-open": 1, "open": 2}

GAUGES: Final[Mapping[str, list[str]]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
"""Gauge name without the prefix -> label names and help text."""


class Gauges(Collector):
    """Reads gauges from the database, and exports the values that were read last.

    `agency` is our own agency. `partners` returns the agencies of the configured partners, whose gauges are 0 if there is
    nothing to count. `free` returns the free bytes in each folder to which the gateway writes, or None if unknown. Statistics
    for the last month are computed at most every five minutes. Not thread-safe: set and collect `rows` in the reactor's thread.
    """

    def __init__(
        self,
        agency: str,
        now: Callable[[], datetime],
        partners: Callable[[], Iterable[str]] = tuple,
        free: Callable[[], Mapping[str, int | None]] = dict,
    ) -> None:
        self._agency, self._now, self._partners, self._free = agency, now, partners, free
        self._counted: Mapping[str, Rows] = {}
        self._counted_at: datetime | None = None
        self.rows: Mapping[str, Rows] = {}
        """The series of each gauge for the next collection, empty while the database cannot be read."""

    def stalled(self, unit: UnitOfWork) -> frozenset[str]:
        """Return the recipients for whom messages wait that should already have been sent."""
        return unit.outbox.stalled(self._now())

    def read(self, unit: UnitOfWork) -> Mapping[str, Rows]:
        """Read the series of all GAUGES, except those that need no database."""
        now = self._now()
        if self._counted_at is None or now - self._counted_at >= SELDOM:
            self._counted, self._counted_at = _monthly_gauges(unit, now), now
        agencies, nightly = tuple(self._partners()), instances.last_runs(unit)
        refused = instances.refused_loads(instances.job_times(unit))
        found: Mapping[str, Rows] = {
            "open_by_position": {
                (side, who, position): count for side, who, position, count in unit.requests.open_by_partner()
            },
            **_outbox_gauges(unit, now),
            **_channel_gauges(unit, agencies, now),
            **_oldest_age_s(unit, self._agency, now),
            "nightly_last_success_timestamp_seconds": {
                (work,): when.timestamp() if when else 0 for work, (when, _) in nightly.items()
            },
            "load_refused_timestamp_seconds": {
                (kind,): refused[kind].timestamp() if kind in refused else 0 for kind in instances.LOADS
            },
            "doctor_failed_checks": {(): nightly[instances.DOCTOR][1]},
        }
        return {name: {**_zero_series(name, agencies), **series} for name, series in {**found, **self._counted}.items()}

    def describe(self) -> Iterable[Metric]:
        """Return the gauges without values, so that the registry refuses another metric with the same name."""
        return [_metric_family(name, {}) for name in GAUGES]

    def collect(self) -> Iterable[Metric]:
        """Return the gauges with the values that were read last."""
        free: Rows = {(folder,): size for folder, size in self._free().items() if size is not None}
        rows: dict[str, Rows] = {**self.rows, "disk_free_bytes": free, "database_up": {(): int(bool(self.rows))}}
        return [_metric_family(name, series) for name, series in rows.items()]


def _metric_family(name: str, series: Rows) -> Metric:
    labels, text = GAUGES[name]
    family = GaugeMetricFamily(f"{NAMESPACE}_{name}", text, labels=labels.split())
    for values, value in series.items():
        family.add_metric(values, value)
    return family


def _outbox_gauges(unit: UnitOfWork, now: datetime) -> Mapping[str, Rows]:
    depths = unit.outbox.depths()
    living = [(who, since) for who, state, _, since in depths if state is not OutboxState.DEAD]
    oldest = {who: min(since for other, since in living if other == who) for who, _ in living}
    return {
        "outbox_depth": {(who,): count for who, state, count, _ in depths if state is OutboxState.WAITING},
        "dead_letters": {(who,): count for who, state, count, _ in depths if state is OutboxState.DEAD},
        "outbox_oldest_seconds": {(who,): _seconds(now - since) for who, since in oldest.items()},
        "outbox_unreadable": {(who,): count for who, count in unit.outbox.set_aside().items()},
    }


def _channel_gauges(unit: UnitOfWork, agencies: Iterable[str], now: datetime) -> Mapping[str, Rows]:
    links: list[CircuitState] = [unit.circuits.find(agency) for agency in sorted({*agencies, *unit.circuits.used()})]
    return {
        "partner_up": {(link.agency,): int(link.state == UP and not link.failures) for link in links},
        "partner_fault": {(link.agency,): int(bool(link.fault)) for link in links},
        "circuit_state": {(link.agency,): CIRCUIT[circuit(link, now)] for link in links},
    }


def _oldest_age_s(unit: UnitOfWork, agency: str, now: datetime) -> Mapping[str, Rows]:
    loaded, last = loading.loaded_at(unit, "patrons"), cli_lists.last_closure(unit, agency)
    days_left = (last - dates.civil(now)).days if last else 0
    return {
        "ils_snapshot_age_seconds": {(): _seconds(now - loaded) if loaded else 0},
        "timer_lag_seconds": {(job.name,): job.lag_s(now) for job in rounds.jobs(unit)},
        "closure_calendar_left_seconds": {(): max(0, days_left) * 86_400},
    }


_OPEN: Final = tuple(
    (side, position)
    for side, positions in ((Side.BORROWING, BORROWING), (Side.LENDING, LENDING))
    for position in sorted(positions - FINAL - {Position.NEW})
)
"""(side, position) for all positions of open requests."""


def _zero_series(name: str, agencies: Iterable[str]) -> Rows:
    """Return a gauge's series with the value 0, so that dashboards show 0 if there is nothing to count."""
    labels = GAUGES[name][0]
    if labels == "job":
        return dict.fromkeys(((job,) for job in ROUNDS), 0)
    if labels == "partner":
        return dict.fromkeys(((who,) for who in agencies), 0)
    if labels == "side partner position":
        return dict.fromkeys(((side, who, position) for who in agencies for side, position in _OPEN), 0)
    return {} if labels else {(): 0}


def _monthly_gauges(unit: UnitOfWork, now: datetime) -> Mapping[str, Rows]:
    """Return the fill rate of our requests, and the balance of lending and borrowing for each partner."""
    lent, borrowed = partners.balance(unit, Side.LENDING, now), partners.balance(unit, Side.BORROWING, now)
    answers = partners.answers(unit, now).values()
    decided = sum(one.asked - one.open for one in answers)
    return {
        "fill_rate": {(): sum(one.filled for one in answers) / decided if decided else 0},
        "lend_borrow_balance": {(who,): lent.get(who, 0) - borrowed.get(who, 0) for who in {*lent, *borrowed}},
    }


def _seconds(span: timedelta) -> float:
    return max(0.0, span.total_seconds())
