"""What the database knows, as gauges: looked at when a monitoring tool asks, so that every gateway tells the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Final

from hkall_gateway.rules import calendar
from hkall_gateway.rules.breaker import UP, Link, circuit
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.store import lists, loading, partners, rounds
from hkall_gateway.store.unit import Unit

Rows = Mapping[tuple[str, ...], float]
"""The series of a gauge: its value by its labels."""

SELDOM: Final = timedelta(minutes=5)
CIRCUIT: Final = {"closed": 0, "half-open": 1, "open": 2}


class Gauges:
    """`agency` is ours. What has to count a month of requests is counted every few minutes, and told as it was in between."""

    def __init__(self, agency: str, now: Callable[[], datetime]) -> None:
        self._agency, self._now = agency, now
        self._counted: Mapping[str, Rows] = {}
        self._counted_at: datetime | None = None

    def look(self, unit: Unit) -> Mapping[str, Rows]:
        """Every gauge of the database with all its series."""
        now = self._now()
        if self._counted_at is None or now - self._counted_at >= SELDOM:
            self._counted, self._counted_at = _of_the_month(unit, now), now
        return {**_work(unit), **_outbox(unit, now), **_lines(unit, now), **_age(unit, self._agency, now), **self._counted}


def _work(unit: Unit) -> Mapping[str, Rows]:
    return {"open_by_position": {(side, who, position): count for side, who, position, count in unit.open_by_partner()}}


def _outbox(unit: Unit, now: datetime) -> Mapping[str, Rows]:
    depths = unit.outbox.depths()
    living = {who: min(since for w, state, _, since in depths if w == who and state != "dead") for who in _alive(depths)}
    return {
        "outbox_depth": {(who,): count for who, state, count, _ in depths if state == "waiting"},
        "dead_letters": {(who,): count for who, state, count, _ in depths if state == "dead"},
        "outbox_oldest_seconds": {(who,): _seconds(now - since) for who, since in living.items()},
    }


def _alive(depths: Iterable[tuple[str, str, int, datetime]]) -> set[str]:
    return {who for who, state, _, _ in depths if state != "dead"}


def _lines(unit: Unit, now: datetime) -> Mapping[str, Rows]:
    links: list[Link] = [unit.links.one(agency) for agency in unit.links.used()]
    return {
        "partner_up": {(link.agency,): int(link.state == UP and not link.failures) for link in links},
        "partner_fault": {(link.agency,): int(bool(link.fault)) for link in links},
        "circuit_state": {(link.agency,): CIRCUIT[circuit(link, now)] for link in links},
    }


def _age(unit: Unit, agency: str, now: datetime) -> Mapping[str, Rows]:
    loaded, last = loading.loaded_at(unit, "patrons"), lists.last_closure(unit, agency)
    return {
        "ils_snapshot_age_seconds": {(): _seconds(now - loaded)} if loaded else {},
        "timer_lag_seconds": {(job.name,): job.lag_s(now) for job in rounds.jobs(unit)},
        "closure_calendar_days_left": {(): _days_left(last, now)} if last else {},
    }


def _days_left(last: date, now: datetime) -> int:
    return max(0, (last - calendar.civil(now)).days)


def _of_the_month(unit: Unit, now: datetime) -> Mapping[str, Rows]:
    """How much of what we asked for came, and who lent whom more."""
    lent, borrowed = partners.balance(unit, Side.LENDING, now), partners.balance(unit, Side.BORROWING, now)
    said = partners.answers(unit, now).values()
    decided = sum(one.asked - one.open for one in said)
    return {
        "fill_rate": {(): sum(one.filled for one in said) / decided} if decided else {},
        "lend_borrow_balance": {(who,): lent.get(who, 0) - borrowed.get(who, 0) for who in {*lent, *borrowed}},
    }


def _seconds(span: timedelta) -> float:
    return max(0.0, span.total_seconds())
