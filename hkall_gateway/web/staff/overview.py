"""The state of things: the first page of the console, the partners, and the terminals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from types import MappingProxyType
from typing import Final

from flask import Blueprint, render_template

from hkall_gateway.circulation.command import Context
from hkall_gateway.circulation.staff.partner_lines import PartnerLine, partner_lines
from hkall_gateway.db import bind, instances, rounds
from hkall_gateway.db.queries import work_lists
from hkall_gateway.db.queries.work_lists import ListName, Moment
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.circuit import UP, CircuitState
from hkall_gateway.rules.dates import EVERY, LOOK_S, civil, start_of
from hkall_gateway.rules.settings import Policy
from hkall_gateway.rules.stored_words import OutboxState, StaffRole
from hkall_gateway.web.i18n import N_, library_name
from hkall_gateway.web.labels import LISTS, POSITIONS, ROUNDS
from hkall_gateway.web.services import consult, services
from hkall_gateway.web.sessions import may, needs

DASHBOARD = Blueprint("dashboard", __name__)
PARTNERS = Blueprint("partners", __name__)
TERMINALS = Blueprint("terminals", __name__)
"""A Blueprint for each, since each has an entry in the menu."""


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
    """All that the page shows, read in one transaction. `dead` messages were given up; a person must settle them."""

    lists: Mapping[ListName, int]
    down: tuple[CircuitState, ...]
    late: tuple[LateRound, ...]
    dead: int
    today: tuple[NamedCount, ...]


LOOK: Final = frozenset({ListName.EXPIRED, ListName.OVERDUE, ListName.STUCK, ListName.FLAGGED})
"""Lists that ask for somebody's attention as soon as they are not empty."""


@DASHBOARD.get("/staff/")
@needs(StaffRole.VIEWER)
def dashboard() -> str:
    """The page; the script reads it again every quarter of a minute."""
    found = services().bridge.read(bind(overview, services().library().policy, services().now()))
    words = {"groups": LISTS, "positions": POSITIONS, "rounds": ROUNDS, "look": LOOK}
    settles = may(StaffRole.SUPERVISOR)
    return render_template("staff/dashboard.html", found=found, now=services().now(), settles=settles, **words)


def overview(unit: Unit, policy: Policy, now: datetime) -> Dashboard:
    """Read all that the page shows. Every query is bounded by the open requests or by an index."""
    numbers = work_lists.counts(unit, Moment(now, policy.waits))
    links = [unit.circuits.one(agency) for agency in unit.circuits.used()]
    down = tuple(link for link in links if link.state != UP or link.fault)
    today = work_lists.moved(unit, start_of(civil(now)))
    moved = tuple(NamedCount(position, today[position]) for position in POSITIONS if position in today)
    known = {job.name: job for job in rounds.jobs(unit)}
    jobs = [job for name in EVERY if (job := known.get(name)) and job.lag_s(now) > 2 * LOOK_S]
    late = tuple(LateRound(job.name, job.next_run) for job in jobs)
    dead = sum(count for _who, state, count, _oldest in unit.outbox.depths() if state is OutboxState.DEAD)
    return Dashboard(numbers, down, late, dead, moved)


MOST: Final = 200
"""Partners of the directory that are shown beside those with messages."""


@dataclass(frozen=True, slots=True)
class Partners:
    """The rows of the page, and the names of the libraries by agency."""

    rows: tuple[PartnerLine, ...]
    names: Mapping[str, str]


@PARTNERS.get("/staff/partners")
@needs(StaffRole.VIEWER)
def partners() -> str:
    """The page; the script reads it again every quarter of a minute."""
    found = consult(partners_of)
    return render_template("staff/partners.html", found=found, up=UP)


def partners_of(context: Context) -> Partners:
    """Return the partners that were ever sent a message, and the first of the directory, by agency."""
    unit = context.unit
    agencies = sorted({*unit.circuits.used(), *unit.circuits.listed(MOST)})
    names = {agency: library_name(agency, partner.name) for agency, partner in unit.partners(agencies).items()}
    return Partners(partner_lines(unit, context.now, agencies), names)


# fmt: off
MESSAGES: Final[Mapping[str, str]] = MappingProxyType({
    "01": N_("Block a card"),
    "09": N_("Check-in"),
    "11": N_("Checkout"),
    "15": N_("Request or cancel"),
    "17": N_("Look up a copy"),
    "19": N_("Change a copy"),
    "23": N_("Look up a card"),
    "25": N_("Enable a card"),
    "29": N_("Renew"),
    "35": N_("End of a session"),
    "37": N_("Payment"),
    "63": N_("Record of a patron"),
    "65": N_("Renew all"),
    "93": N_("Login"),
    "97": N_("Repeat"),
    "99": N_("Status"),
})
"""SIP2's messages of terminals, by their codes. Source: SIP2 2.00."""

REFUSALS: Final[Mapping[str, str]] = MappingProxyType({
    "unknown":   N_("unknown login"),
    "address":   N_("not from this address"),
    "secret":    N_("wrong password"),
    "algorithm": N_("encrypted password, which is not supported"),
})
"""Why a login was refused."""

ROLES: Final[Mapping[str, str]] = MappingProxyType({
    "counter":   N_("Counter"),
    "selfcheck": N_("Self-check"),
    "bookdrop":  N_("Book drop"),
    "lookup":    N_("Look-up"),
})
"""The roles of the published policy; a site may have others, which are shown as they are."""
# fmt: on


@dataclass(frozen=True, slots=True)
class TerminalState:
    """One terminal at all gateways that run. `login` is "" for unknown names."""

    login: str
    role: str
    location: str
    connections: int
    last_code: str
    last_at: datetime | None
    refused: int
    refused_why: str
    refused_at: datetime | None


@dataclass(frozen=True, slots=True)
class Terminals:
    """The rows of the page; `seen_at` is the oldest of the reports they are made of, None if no gateway runs."""

    rows: tuple[TerminalState, ...]
    seen_at: datetime | None


@TERMINALS.get("/staff/terminals")
@needs(StaffRole.VIEWER)
def terminals() -> str:
    """The page; the script reads it again every quarter of a minute, as often as gateways report."""
    found = consult(terminals_of)
    return render_template("staff/terminals.html", found=found, messages=MESSAGES, refusals=REFUSALS, roles=ROLES)


def terminals_of(context: Context) -> Terminals:
    """Return the terminals as the gateways that run have reported them."""
    up = {one.name for one in instances.everyone(context.unit) if one.state(context.now) == "up"}
    told = [row for row in instances.terminals(context.unit) if row.instance in up]
    found = []
    for login, group in groupby(told, key=lambda row: row.login):
        rows = list(group)  # what the gateways say of one terminal; its last message and refusal are the latest of all
        heard = max(rows, key=lambda row: row.last_at.timestamp() if row.last_at else 0.0)
        refused = max(rows, key=lambda row: row.refused_at.timestamp() if row.refused_at else 0.0)
        state = TerminalState(
            login=login,
            role=rows[0].role,
            location=rows[0].location,
            connections=sum(row.connections for row in rows),
            last_code=heard.last_code,
            last_at=heard.last_at,
            refused=sum(row.refused for row in rows),
            refused_why=refused.refused_why,
            refused_at=refused.refused_at,
        )
        found.append(state)
    return Terminals(tuple(found), min((row.seen_at for row in told), default=None))
