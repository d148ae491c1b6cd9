"""Overview pages for staff: the dashboard, the partners, and the terminals."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from flask import Blueprint, render_template

from hkall_gateway.circulation.staff import overview
from hkall_gateway.rules.circuit import UP
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.web.callers import Share
from hkall_gateway.web.i18n import N_, gettext, library_name, ngettext
from hkall_gateway.web.labels import POSITIONS
from hkall_gateway.web.limits import CallerUse, page_use
from hkall_gateway.web.services import execute, services
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
    today = execute(overview.dashboard())
    busiest = page_use().busiest()
    return render_template(
        "staff/dashboard.html",
        found=today,
        messages=unsent.tabs(today.unsent),
        reached=[(position, today.today[position]) for position in POSITIONS if position in today.today],
        busiest=_use_in_words(busiest) if busiest else "",
        now=services().now(),
        groups=GROUPS,
        clerk=may(StaffRole.CLERK),
        settles=may(StaffRole.SUPERVISOR),
    )


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


MOST: Final = 200
"""Maximum number of partners to show from the directory, in addition to the partners with messages."""


@PARTNERS.get("/staff/partners")
@needs(StaffRole.VIEWER)
def partners() -> str:
    """Show the partners and the state of each connection. The script refreshes the page every 15 seconds."""
    rows, directory_names = execute(overview.partner_states(MOST))
    names = {agency: library_name(agency, name) for agency, name in directory_names.items()}
    return render_template("staff/partners.html", rows=rows, names=names, up=UP)


@TERMINALS.get("/staff/terminals")
@needs(StaffRole.VIEWER)
def terminals() -> str:
    """Show the terminals. The script refreshes the page every 15 seconds, which is as often as gateways report."""
    rows, seen_at = execute(overview.terminal_states())
    return render_template("staff/terminals.html", rows=rows, seen_at=seen_at)
