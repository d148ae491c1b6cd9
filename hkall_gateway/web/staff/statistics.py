"""Shows statistics for a period: figures, SVG charts, and a CSV file for each table."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Final

import pygal
from flask import Blueprint, Response, abort, current_app, render_template, request
from lxml import etree
from pygal.graph.graph import Graph
from pygal.style import Style

from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff import console
from hkall_gateway.db.queries.statistics import Count, Statistics, Turnaround, days_within, total
from hkall_gateway.rules.dates import civil, parse_day
from hkall_gateway.rules.lender_reasons import reason_label
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.web.i18n import N_, gettext, language, place_name
from hkall_gateway.web.labels import code_words, reason_in_words, rule_of, sentence
from hkall_gateway.web.middleware import PICTURE
from hkall_gateway.web.services import execute, services
from hkall_gateway.web.sessions import needs
from hkall_gateway.web.staff.lists import csv_file

sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__]

# pygal installs a plugin finder with an interface that Python 3.12 has removed. Python 3.11 warns at every later import.

MOST_DAYS: Final = 21
"""Number of days for the chart's last bar, which includes all books that took longer."""
FONT: Final = "system-ui, 'Noto Sans', 'Noto Sans CJK TC', sans-serif"
COLOURS: Final = ("#2f8f6b", "#c9892b", "#8c98a1", "#8db9d6")
"""Colours for filled, unfilled, cancelled and open requests, which also differ in lightness."""
DARK: Final = (
    "inline:@media (prefers-color-scheme: dark) {"
    " text { fill: #a3aeb6 !important; } .axis path { stroke: #4a555d !important; } }"
)
"""CSS rule that makes a chart follow the browser's colour scheme."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart: the title, which is also the text alternative, and the function that draws the chart."""

    title: str
    draw: Callable[[Statistics], Graph]


def svg(chart: Chart, found: Statistics) -> bytes:
    """Render a chart as SVG, without the script that pygal adds for its own viewer."""
    tree = chart.draw(found).render_tree()
    for script in [node for node in tree.iter() if isinstance(node.tag, str) and node.tag.endswith("script")]:
        script.getparent().remove(script)
    return etree.tostring(tree, xml_declaration=True, encoding="utf-8")


def _draw_months(found: Statistics) -> Graph:
    counts = total([one for one in found.counts if one.side == Side.BORROWING], "month")
    chart = _bar_chart(pygal.StackedBar, legend_at_bottom=True, legend_at_bottom_columns=4)
    chart.x_labels = [one.month for one in counts]
    chart.add(gettext("Filled"), [one.filled for one in counts])
    chart.add(gettext("Unfilled"), [one.unfilled for one in counts])
    chart.add(gettext("Cancelled"), [one.cancelled for one in counts])
    chart.add(gettext("Still open"), [one.still_open for one in counts])
    return chart


def _draw_turnaround(found: Statistics) -> Graph:
    books = [0] * (MOST_DAYS + 1)
    for one in found.turnarounds:
        books[min(max(one.days, 0), MOST_DAYS)] += one.requests
    chart = _bar_chart(pygal.Bar, show_legend=False, x_title=gettext("Days"))
    chart.x_labels = [*map(str, range(MOST_DAYS)), f"{MOST_DAYS}+"]
    chart.add(gettext("Books"), books)
    return chart


def _draw_declines(found: Statistics) -> Graph:
    sums = Counter[str]()
    for one in found.declines:
        sums[one.reason] += one.times
    rows = sorted(sums.items(), key=lambda one: (one[1], one[0]))
    chart = _bar_chart(pygal.HorizontalBar, show_legend=False)
    chart.x_labels = [reason_label(reason, language()) for reason, _ in rows]
    chart.add(gettext("Times"), [times for _, times in rows])
    return chart


def _bar_chart(kind: type[Graph], **options: object) -> Graph:
    style = Style(
        background="transparent",
        plot_background="transparent",
        foreground="#5b656d",
        foreground_strong="#5b656d",
        foreground_subtle="#dfe3e6",
        guide_stroke_color="#dfe3e6",
        guide_stroke_dasharray="none",
        major_guide_stroke_color="#dfe3e6",
        major_guide_stroke_dasharray="none",
        colors=COLOURS,
        font_family=FONT,
        label_font_size=13,
        major_label_font_size=13,
        legend_font_size=13,
        opacity="1",
        no_data_font_size=18,
    )
    sizes = {"width": 800, "height": 300, "margin": 8, "spacing": 12, "legend_box_size": 12}
    words = {
        "no_data_text": gettext("No figures"),
        "show_minor_x_labels": True,
        "value_formatter": lambda number: f"{number:g}",
    }
    return kind(
        js=(), css=["file://style.css", "file://graph.css", DARK], style=style, max_scale=6, **sizes, **words, **options
    )


# fmt: off
CHARTS: Final[Mapping[str, Chart]] = MappingProxyType({
    "months":     Chart(N_("Requests of our patrons by month and outcome"), _draw_months),
    "turnaround": Chart(N_("Books by the days from the request to our hold shelf"), _draw_turnaround),
    "declines":   Chart(N_("Reasons for which lenders did not supply"), _draw_declines),
})
"""Charts by the name of the table below the chart."""
# fmt: on


Row = tuple[str | int | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """One table. `rows` computes the rows. The first `words` columns are texts, and all further columns are numbers."""

    title: str
    heads: tuple[str, ...]
    rows: Callable[[Statistics], list[Row]]
    words: int = 1


def percent(share: float | None) -> int | None:
    """Convert a share between 0 and 1 to percent. Return None for None."""
    return None if share is None else round(100 * share)


def _count_rows(found: Iterable[Count], *by: str) -> list[Row]:
    rows: list[Row] = []
    for one in total(found, *by):
        names = (code_words(name, getattr(one, name)) or "–" for name in by)
        rows.append((*names, one.requests, one.filled, one.unfilled, one.cancelled, one.still_open, percent(one.fill_rate)))
    return rows


def turnaround_rows(found: Statistics) -> list[Row]:
    """Return for each lender the number of books, and the days within which 50 % and 90 % of the books arrived."""
    by_partner: dict[str, list[Turnaround]] = {}
    for one in found.turnarounds:
        by_partner.setdefault(one.partner, []).append(one)
    return [
        (partner or "–", sum(one.requests for one in came), days_within(came, 0.5), days_within(came, 0.9))
        for partner, came in sorted(by_partner.items())
    ]


def refusal_rows(found: Statistics) -> list[Row]:
    """Return the rule, the reason and the count of each refusal, most frequent first."""
    sums = Counter[tuple[str, str]]()
    for one in found.refusals:
        sums[one.rule, one.reason] += one.times
    return [(rule or "–", reason_in_words(reason), times) for (rule, reason), times in _most_first(sums)]


def decline_rows(found: Statistics) -> list[Row]:
    """Return each lender's reasons for declining, with the count of each reason, most frequent first."""
    sums = Counter[tuple[str, str]]()
    for one in found.declines:
        sums[one.lender, one.reason] += one.times
    return [(lender, reason_label(reason, language()), times) for (lender, reason), times in _most_first(sums)]


def _most_first(sums: Mapping[tuple[str, str], int]) -> list[tuple[tuple[str, str], int]]:
    return sorted(sums.items(), key=lambda one: (-one[1], one[0]))


COUNTED: Final = (N_("Requests"), N_("Filled"), N_("Unfilled"), N_("Cancelled"), N_("Still open"), N_("Fill rate in percent"))

TABLES: Final[Mapping[str, Table]] = MappingProxyType(
    {
        "months": Table(
            title=N_("By month"),
            heads=(N_("Month"), N_("Side"), *COUNTED),
            rows=lambda found: _count_rows(found.counts, "month", "side"),
            words=2,
        ),
        "partners": Table(
            title=N_("By library"),
            heads=(N_("Library"), N_("Side"), *COUNTED),
            rows=lambda found: _count_rows(found.counts, "partner", "side"),
            words=2,
        ),
        "categories": Table(
            title=N_("By category of our patrons"),
            heads=(N_("Category"), *COUNTED),
            rows=lambda found: _count_rows([one for one in found.counts if one.side == Side.BORROWING], "category"),
        ),
        "turnaround": Table(
            title=N_("Days from the request to our hold shelf"),
            heads=(N_("Lender"), N_("Books"), N_("Half within"), N_("Nine of ten within")),
            rows=turnaround_rows,
        ),
        "declines": Table(
            title=N_("Why lenders did not supply (R37)"),
            heads=(N_("Lender"), N_("Reason"), N_("Times")),
            rows=decline_rows,
            words=2,
        ),
        "refusals": Table(title=N_("Refusals"), heads=(N_("Rule"), N_("Reason"), N_("Times")), rows=refusal_rows, words=2),
        "sites": Table(
            title=N_("From site to site"),
            heads=(N_("From"), N_("To"), N_("Pickup place"), N_("Requests"), N_("Filled")),
            rows=lambda found: [(p.lender, p.borrower, place_name(p.place), p.requests, p.filled) for p in found.pairs],
            words=3,
        ),
    }
)
"""Tables in page order. Each table can also be downloaded as a CSV file."""


def count_by_site(found: Statistics) -> Counter[tuple[str, str]]:
    """Count requests by lender and site, where a site is one of our pickup locations or another library."""
    cells, ours = Counter[tuple[str, str]](), services().library().pickup_locations
    for one in found.pairs:
        cells[one.lender, place_name(one.place) if one.place in ours else one.borrower] += one.requests
    return cells


PAGES = Blueprint("statistics", __name__)

MONTHS: Final = 6
"""Months in the default period, including the current month."""
KEPT: Final = "hkall_statistics"
KEPT_S: Final = 60.0
"""Seconds for which figures are cached, so that a page with its charts and CSV files needs a single query."""
MOST_KEPT: Final = 16


@PAGES.get("/staff/statistics")
@needs(StaffRole.VIEWER)
def page() -> str | tuple[str, int]:
    """Show the statistics for a period, or the reason for refusing the period."""
    period = _read_period()
    found = _figures_of(period)
    if isinstance(found, Refused):
        refusal = {"found": None, "error": sentence(found), "rule_number": rule_of(found)}
        return render_template("staff/statistics.html", period=period, **refusal), 400
    sides = {one.side: one for one in total(found.counts, "side")}
    cells = count_by_site(found)
    half, most = days_within(found.turnarounds, 0.5), days_within(found.turnarounds, 0.9)
    return render_template(
        "staff/statistics.html",
        period=period,
        found=found,
        error="",
        borrowed=sides.get(Side.BORROWING),
        lent=sides.get(Side.LENDING),
        half_days=half,
        most_days=most,
        percent=percent,
        tables=[(name, table, table.rows(found)) for name, table in TABLES.items()],
        charts=CHARTS,
        cells=cells,
        lenders=sorted({lender for lender, _ in cells}),
        sites=sorted({site for _, site in cells}),
    )


@PAGES.get("/staff/statistics/<name>.csv")
@needs(StaffRole.VIEWER)
def as_file(name: str) -> Response:
    """Download one table as a CSV file."""
    if name not in TABLES:
        abort(404)
    table, found = TABLES[name], _read_figures()
    period = f"{found.period.first}-{found.period.last}"
    return csv_file(f"hkall-{name}-{period}.csv", [gettext(head) for head in table.heads], table.rows(found))


@PAGES.get("/staff/statistics/<name>.svg")
@needs(StaffRole.VIEWER)
def picture(name: str) -> Response:
    """Serve one chart as SVG, with a Content-Security-Policy that permits the SVG's inline styles."""
    if name not in CHARTS:
        abort(404)
    return Response(svg(CHARTS[name], _read_figures()), mimetype="image/svg+xml", headers={"Content-Security-Policy": PICTURE})


def _read_period() -> tuple[str, str]:
    """Return the first and the last day in the URL. The default period ends today and spans MONTHS calendar months."""
    today = civil(services().now())
    months = today.year * 12 + today.month - MONTHS
    usual = date(months // 12, months % 12 + 1, 1)
    return request.args.get("from", "") or usual.isoformat(), request.args.get("to", "") or today.isoformat()


def _read_figures() -> Statistics:
    found = _figures_of(_read_period())
    if isinstance(found, Refused):
        abort(400)
    return found


def _figures_of(period: tuple[str, str]) -> Statistics | Refused:
    """Return the figures for a period, cached for at most KEPT_S seconds."""
    try:
        first, last = map(parse_day, period)
    except ValueError:
        return Refused(why=Reason.WRONG_DATE, detail={"on": " – ".join(period)})
    kept: dict[tuple[date, date], tuple[float, Statistics | Refused]] = current_app.extensions.setdefault(KEPT, {})
    now, key = services().seconds(), (first, last)
    before = kept.get(key)
    if before and now - before[0] < KEPT_S:
        return before[1]
    found = execute(console.statistics_of(first, last))
    if len(kept) >= MOST_KEPT:
        kept.clear()
    kept[key] = now, found
    return found
