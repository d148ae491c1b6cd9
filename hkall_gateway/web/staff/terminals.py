"""The terminals: their connections, their last messages, and refused logins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from types import MappingProxyType
from typing import Final

from flask import Blueprint, render_template

from hkall_gateway.circulation.common.context import Context, in_context
from hkall_gateway.db import instances, terminal_activity
from hkall_gateway.db.terminal_activity import TerminalActivity
from hkall_gateway.web.access import needs
from hkall_gateway.web.i18n import N_
from hkall_gateway.web.roles import StaffRole
from hkall_gateway.web.services import services

PAGES = Blueprint("terminals", __name__)

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


@PAGES.get("/staff/terminals")
@needs(StaffRole.VIEWER)
def terminals() -> str:
    """The page; the script reads it again every quarter of a minute, as often as gateways report."""
    found = services().bridge.read(in_context, terminals_of, services().library(), services().now())
    return render_template("staff/terminals.html", found=found, messages=MESSAGES, refusals=REFUSALS, roles=ROLES)


def terminals_of(context: Context) -> Terminals:
    """Return the terminals as the gateways that run have reported them."""
    up = {one.name for one in instances.everyone(context.unit) if one.state(context.now) == "up"}
    told = [row for row in terminal_activity.everyone(context.unit) if row.instance in up]
    rows = tuple(_together(group) for _, group in groupby(told, key=lambda row: row.login))
    return Terminals(rows, min((row.seen_at for row in told), default=None))


def _together(group: Iterable[TerminalActivity]) -> TerminalState:
    """Add up the reports about one terminal; its last message and refusal are the latest of all."""
    rows = list(group)
    heard = max(rows, key=lambda row: row.last_at.timestamp() if row.last_at else 0.0)
    refused = max(rows, key=lambda row: row.refused_at.timestamp() if row.refused_at else 0.0)
    return TerminalState(
        login=rows[0].login,
        role=rows[0].role,
        location=rows[0].location,
        connections=sum(row.connections for row in rows),
        last_code=heard.last_code,
        last_at=heard.last_at,
        refused=sum(row.refused for row in rows),
        refused_why=refused.refused_why,
        refused_at=refused.refused_at,
    )
