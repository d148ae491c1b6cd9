"""Statistics of a period: figures, charts as pictures, and a CSV file for each table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from flask import Blueprint, Response, abort, current_app, render_template, request

from hkall_gateway.circulation.common.context import in_context
from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.circulation.staff import console
from hkall_gateway.db.queries.statistics import Count, Statistics, days_within, total
from hkall_gateway.rules.dates import civil, parse_day
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.web.access import needs
from hkall_gateway.web.csv_file import csv_file
from hkall_gateway.web.i18n import gettext
from hkall_gateway.web.labels import rule_of, sentence
from hkall_gateway.web.middleware import PICTURE
from hkall_gateway.web.roles import StaffRole
from hkall_gateway.web.services import services
from hkall_gateway.web.staff.charts import CHARTS, svg
from hkall_gateway.web.staff.figures import TABLES, matrix, percent

PAGES = Blueprint("statistics", __name__)

MONTHS: Final = 6
"""Months of the usual period, with the present one."""
KEPT: Final = "hkall_statistics"
KEPT_S: Final = 60.0
"""Seconds for which figures are kept: a page, its charts and its files are read from the database once."""
MOST_KEPT: Final = 16


@dataclass(frozen=True, slots=True)
class Days:
    """The period of an address: as typed, and as dates; the dates are None if one is not a date."""

    typed: tuple[str, str]
    first: date | None
    last: date | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures at the top of the page."""

    borrowed: Count | None
    lent: Count | None
    half_days: int | None
    most_days: int | None


@PAGES.get("/staff/statistics")
@needs(StaffRole.VIEWER)
def page() -> str | tuple[str, int]:
    """The page; a period that is not possible says why."""
    days = _days()
    found = _figures(days)
    if isinstance(found, Refused):
        said = {"found": None, "error": sentence(found), "rule_number": rule_of(found)}
        return render_template("staff/statistics.html", days=days, **said), 400
    return render_template(
        "staff/statistics.html",
        days=days,
        found=found,
        error="",
        summary=_summary(found),
        percent=percent,
        tables=[(name, table, table.rows(found)) for name, table in TABLES.items()],
        charts=CHARTS,
        matrix=matrix(found),
    )


@PAGES.get("/staff/statistics/<name>.csv")
@needs(StaffRole.VIEWER)
def as_file(name: str) -> Response:
    """One table as a file."""
    if name not in TABLES:
        abort(404)
    table, found = TABLES[name], _possible()
    period = f"{found.period.first}-{found.period.last}"
    return csv_file(f"hkall-{name}-{period}.csv", [gettext(head) for head in table.heads], table.rows(found))


@PAGES.get("/staff/statistics/<name>.svg")
@needs(StaffRole.VIEWER)
def picture(name: str) -> Response:
    """One chart: it has inline style, thus a policy of its own, and is shown as `<img>`."""
    if name not in CHARTS:
        abort(404)
    return Response(svg(CHARTS[name], _possible()), mimetype="image/svg+xml", headers={"Content-Security-Policy": PICTURE})


def _days() -> Days:
    """The period that the address asks for; without one, the present month and those before it."""
    today = civil(services().now())
    months = today.year * 12 + today.month - MONTHS
    usual = date(months // 12, months % 12 + 1, 1)
    typed = request.args.get("from", "") or usual.isoformat(), request.args.get("to", "") or today.isoformat()
    try:
        return Days(typed, parse_day(typed[0]), parse_day(typed[1]))
    except ValueError:
        return Days(typed, None, None)


def _possible() -> Statistics:
    found = _figures(_days())
    if isinstance(found, Refused):
        abort(400)
    return found


def _figures(days: Days) -> Statistics | Refused:
    """The figures of a period, at most KEPT_S seconds old."""
    if days.first is None or days.last is None:
        return Refused(Reason.WRONG_DATE, detail={"on": " – ".join(days.typed)})
    kept: dict[Any, tuple[float, Statistics | Refused]] = current_app.extensions.setdefault(KEPT, {})
    now, key = services().seconds(), (days.first, days.last)
    before = kept.get(key)
    if before and now - before[0] < KEPT_S:
        return before[1]
    asked = (services().library(), services().now(), days.first, days.last)
    found: Statistics | Refused = services().bridge.read(in_context, console.statistics_of, *asked)
    if len(kept) >= MOST_KEPT:
        kept.clear()
    kept[key] = now, found
    return found


def _summary(found: Statistics) -> Summary:
    sides = {one.side: one for one in total(found.counts, "side")}
    half, most = days_within(found.turnarounds, 0.5), days_within(found.turnarounds, 0.9)
    return Summary(sides.get(Side.BORROWING), sides.get(Side.LENDING), half, most)
