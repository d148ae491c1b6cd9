"""/: the search box, what HKALL is, and a notice while it is suspended."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, render_template

from hkall_gateway.circulation import titles
from hkall_gateway.circulation.common.context import Context
from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.rules.settings import Policy
from hkall_gateway.web.patron.public import A_MINUTE, kept
from hkall_gateway.web.patron.suspension import notice
from hkall_gateway.web.services import consult, services

PAGES = Blueprint("home", __name__)


@dataclass(frozen=True, slots=True)
class Front:
    """The facts of the page: the number of libraries, and why requests are suspended."""

    libraries: int
    suspended: Refused | None


@PAGES.get("/")
def page() -> Response:
    """The page; what it says of days and renewals is the policy's."""
    found = consult(_front)
    short = in_short(services().library().policy)
    words = render_template("patron/home.html", libraries=found.libraries, short=short, suspended=notice(found.suspended))
    return kept(Response(words), A_MINUTE)


def in_short(policy: Policy) -> dict[str, int]:
    """Return the policy's numbers for the page: days to collect, the shortest and the longest loan in days, renewals."""
    days = [category.loan_days for category in policy.categories]
    numbers = (policy.pickup.days, min(days, default=0), max(days, default=0), policy.renewal.max_count)
    return dict(zip(("pickup_days", "shortest", "longest", "renewals"), numbers, strict=True))


def _front(context: Context) -> Front:
    return Front(titles.libraries(context), titles.suspension(context))
