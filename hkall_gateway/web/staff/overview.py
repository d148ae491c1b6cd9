"""Overview pages for staff: the dashboard, the partners, and the terminals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import groupby
from types import MappingProxyType
from typing import Final

from flask import Blueprint, render_template

from hkall_gateway.circulation.command import Context
from hkall_gateway.circulation.staff import console
from hkall_gateway.circulation.staff.partner_lines import PartnerLine, partner_lines
from hkall_gateway.db import instances, rounds
from hkall_gateway.db.instances import TerminalActivity
from hkall_gateway.db.queries import work_lists
from hkall_gateway.db.queries.work_lists import Moment
from hkall_gateway.rules.circuit import UP
from hkall_gateway.rules.dates import EVERY, LOOK_S, civil, start_of
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.web.callers import Share
from hkall_gateway.web.i18n import N_, gettext, library_name, ngettext
from hkall_gateway.web.labels import POSITIONS
from hkall_gateway.web.limits import CallerUse, page_use
from hkall_gateway.web.services import consult, services
from hkall_gateway.web.sessions import may, needs
from hkall_gateway.web.staff import unsent
from hkall_gateway.web.staff.lists import GROUPS

DASHBOARD = Blueprint("dashboard", __name__)
PARTNERS = Blueprint("partners", __name__)
TERMINALS = Blueprint("terminals", __name__)
"""Each page has a separate Blueprint, since each page has a menu entry."""


@DASHBOARD.get("/staff/")
@needs(StaffRole.VIEWER)
def dashboard() -> str:
    """Show the dashboard. The script refreshes it every 15 seconds."""
    roles, found = {"clerk": may(StaffRole.CLERK), "settles": may(StaffRole.SUPERVISOR)}, consult(_dashboard_facts)
    busiest = page_use().busiest()
    found["busiest"] = _use_in_words(busiest) if busiest else ""
    return render_template("staff/dashboard.html", found=found, now=services().now(), groups=GROUPS, **roles)


# fmt: off
BUSIEST: Final[Mapping[Share, str]] = MappingProxyType({
    Share.STAFF:     N_("The account %(name)s has asked for %(pages)s of the %(all)s pages of the last five minutes."),
    Share.PROGRAMS:  N_("The program %(name)s has asked for %(pages)s of the %(all)s pages of the last five minutes."),
    Share.PATRONS:   N_("One patron has asked for %(pages)s of the %(all)s pages of the last five minutes."),
    Share.STRANGERS: N_("One network has asked without a login for %(pages)s of the %(all)s pages of the last five minutes."),
})
# fmt: on
"""What the dashboard says about one caller who takes most of the pages. Patrons and networks are not named."""


def _use_in_words(use: CallerUse) -> str:
    name = use.name.partition(" ")[2]
    text = gettext(BUSIEST[use.share]) % {"name": name, "pages": use.pages, "all": use.of_all}
    if not use.refused:
        return text
    refused = ngettext("%(num)d was refused.", "%(num)d were refused.", use.refused) % {"num": use.refused}
    return f"{text} {refused}"


def _dashboard_facts(context: Context) -> dict[str, object]:
    """Read the dashboard's data in one transaction. Every query is bounded by the number of open requests or by an index."""
    unit, now = context.unit, context.now
    links = [unit.circuits.find(agency) for agency in unit.circuits.used()]
    moved = work_lists.moved(unit, start_of(civil(now)))
    jobs = {job.name: job for job in rounds.jobs(unit)}
    return {
        "lists": work_lists.counts(unit, Moment(now, context.library.policy.waits)),
        "down": [link for link in links if link.state != UP or link.fault],
        "late": [job for name in EVERY if (job := jobs.get(name)) and job.lag_s(now) > 2 * LOOK_S],
        "messages": unsent.tabs(console.unsent_counts(context)),
        "today": [(position, moved[position]) for position in POSITIONS if position in moved],
    }


MOST: Final = 200
"""Maximum number of partners to show from the directory, in addition to the partners with messages."""


@PARTNERS.get("/staff/partners")
@needs(StaffRole.VIEWER)
def partners() -> str:
    """Show the partners and the state of each connection. The script refreshes the page every 15 seconds."""
    rows, names = consult(_read_partners)
    return render_template("staff/partners.html", rows=rows, names=names, up=UP)


def _read_partners(context: Context) -> tuple[tuple[PartnerLine, ...], dict[str, str]]:
    """Return the rows and names of partners that were ever sent a message, and of the directory's first MOST partners."""
    unit = context.unit
    agencies = sorted({*unit.circuits.used(), *unit.circuits.listed(MOST)})
    names = {agency: library_name(agency, partner.name) for agency, partner in unit.partners.among(agencies).items()}
    return partner_lines(unit, context.now, agencies), names


@TERMINALS.get("/staff/terminals")
@needs(StaffRole.VIEWER)
def terminals() -> str:
    """Show the terminals. The script refreshes the page every 15 seconds, which is as often as gateways report."""
    rows, seen_at = consult(_read_terminals)
    return render_template("staff/terminals.html", rows=rows, seen_at=seen_at)


def _read_terminals(context: Context) -> tuple[list[TerminalActivity], datetime | None]:
    """Return the terminals of all running gateways and the time of the oldest report, or None if no gateway is running."""
    up = {one.name for one in instances.list_instances(context.unit) if one.state(context.now) == "up"}
    reported = [row for row in instances.terminals(context.unit) if row.instance in up]
    found = []
    for _, group in groupby(reported, key=lambda row: row.login):
        rows = list(group)  # combine the rows of all gateways: the latest message and refusal, and the totals
        heard = max(rows, key=lambda row: row.last_at.timestamp() if row.last_at else 0.0)
        refused = max(rows, key=lambda row: row.refused_at.timestamp() if row.refused_at else 0.0)
        one = replace(rows[0], last_code=heard.last_code, last_at=heard.last_at, refused=sum(row.refused for row in rows))
        one = replace(one, refused_why=refused.refused_why, refused_at=refused.refused_at)
        found.append(replace(one, connections=sum(row.connections for row in rows)))
    return found, min((row.seen_at for row in reported), default=None)
