"""The first page of the console: how much stands in each list, which channels are down, which rounds are late, and today."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from flask import Blueprint, render_template

from hkall_gateway.db import rounds
from hkall_gateway.db.queries import dashboard as today_counts
from hkall_gateway.db.queries import work_lists
from hkall_gateway.db.queries.work_lists import ListName, Moment
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.circuit import UP, CircuitState
from hkall_gateway.rules.dates import EVERY, LOOK_S, civil, start_of
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.stored_words import OutboxState
from hkall_gateway.web.access import may, needs
from hkall_gateway.web.labels import LISTS, POSITIONS, ROUNDS
from hkall_gateway.web.roles import StaffRole
from hkall_gateway.web.services import services

PAGES = Blueprint("dashboard", __name__)


@dataclass(frozen=True, slots=True)
class NamedCount:
    """A number with the name of what is counted: a list, or a position."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class LateRound:
    """A round that is due for longer than it may be."""

    name: str
    due: datetime | None


@dataclass(frozen=True, slots=True)
class Dashboard:
    """All that the page shows, read in one transaction."""

    lists: Mapping[ListName, int]
    down: tuple[CircuitState, ...]
    late: tuple[LateRound, ...]
    dead: int
    today: tuple[NamedCount, ...]


LOOK: Final = frozenset({ListName.EXPIRED, ListName.OVERDUE, ListName.STUCK, ListName.FLAGGED})
"""Lists that ask for somebody's attention as soon as they are not empty."""


@PAGES.get("/staff/")
@needs(StaffRole.VIEWER)
def dashboard() -> str:
    """The page; the script reads it again every quarter of a minute."""
    found = services().bridge.read(overview, services().library().policy, services().now())
    words = {"groups": LISTS, "positions": POSITIONS, "rounds": ROUNDS, "look": LOOK}
    settles = may(StaffRole.SUPERVISOR)
    return render_template("staff/dashboard.html", found=found, now=services().now(), settles=settles, **words)


def overview(unit: Unit, policy: Policy, now: datetime) -> Dashboard:
    """Read all that the page shows. Every query is bounded by the open requests or by an index."""
    numbers = work_lists.counts(unit, Moment(now, policy.waits))
    links = [unit.circuits.one(agency) for agency in unit.circuits.used()]
    down = tuple(link for link in links if link.state != UP or link.fault)
    today = today_counts.moved(unit, start_of(civil(now)))
    moved = tuple(NamedCount(position, today[position]) for position in POSITIONS if position in today)
    return Dashboard(numbers, down, _late(unit, now), _dead(unit), moved)


def _late(unit: Unit, now: datetime) -> tuple[LateRound, ...]:
    known = {job.name: job for job in rounds.jobs(unit)}
    jobs = [job for name in EVERY if (job := known.get(name)) and job.lag_s(now) > 2 * LOOK_S]
    return tuple(LateRound(job.name, job.next_run) for job in jobs)


def _dead(unit: Unit) -> int:
    """Messages that the courier has given up; a person must settle them."""
    return sum(count for _who, state, count, _oldest in unit.outbox.depths() if state is OutboxState.DEAD)
