"""The charts of the statistics, as SVG without scripts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import pygal
from lxml import etree
from pygal.style import Style

from hkall_gateway.db.queries.statistics import Statistics, total
from hkall_gateway.rules.lender_reasons import reason_label
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.web.i18n import N_, gettext, language

# pygal installs a finder of its own for plugins, in a form that Python 3.12 has removed; 3.11 warns at every import after it.
sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != pygal.__name__]

MOST_DAYS: Final = 21
"""Books that took longer are in the last bar."""
FONT: Final = "system-ui, 'Noto Sans', 'Noto Sans CJK TC', sans-serif"
COLOURS: Final = ("#2f8f6b", "#c9892b", "#8c98a1", "#8db9d6")
"""Filled, unfilled, cancelled, still open: they differ in lightness too, and the table beside the chart has the figures."""
DARK: Final = (
    "inline:@media (prefers-color-scheme: dark) {"
    " text { fill: #a3aeb6 !important; } .axis path { stroke: #4a555d !important; } }"
)
"""A picture follows the browser's scheme by itself."""


@dataclass(frozen=True, slots=True)
class Chart:
    """One chart: its title, which is its text alternative too, and the function that fills it."""

    title: str
    draw: Callable[[Statistics], Any]


def svg(chart: Chart, found: Statistics) -> bytes:
    """Return the picture. pygal writes a script into each, for its own player; it is removed."""
    tree = chart.draw(found).render_tree()
    for script in [node for node in tree.iter() if isinstance(node.tag, str) and node.tag.endswith("script")]:
        script.getparent().remove(script)
    return etree.tostring(tree, xml_declaration=True, encoding="utf-8")


def _months(found: Statistics) -> Any:
    counts = total([one for one in found.counts if one.side == Side.BORROWING], "month")
    chart = _bars(pygal.StackedBar, legend_at_bottom=True, legend_at_bottom_columns=4)
    chart.x_labels = [one.month for one in counts]
    chart.add(gettext("Filled"), [one.filled for one in counts])
    chart.add(gettext("Unfilled"), [one.unfilled for one in counts])
    chart.add(gettext("Cancelled"), [one.cancelled for one in counts])
    chart.add(gettext("Still open"), [one.still_open for one in counts])
    return chart


def _turnaround(found: Statistics) -> Any:
    books = [0] * (MOST_DAYS + 1)
    for one in found.turnarounds:
        books[min(max(one.days, 0), MOST_DAYS)] += one.requests
    chart = _bars(pygal.Bar, show_legend=False, x_title=gettext("Days"))
    chart.x_labels = [*map(str, range(MOST_DAYS)), f"{MOST_DAYS}+"]
    chart.add(gettext("Books"), books)
    return chart


def _declines(found: Statistics) -> Any:
    sums: dict[str, int] = {}
    for one in found.declines:
        sums[one.reason] = sums.get(one.reason, 0) + one.times
    rows = sorted(sums.items(), key=lambda one: (one[1], one[0]))
    chart = _bars(pygal.HorizontalBar, show_legend=False)
    chart.x_labels = [reason_label(reason, language()) for reason, _ in rows]
    chart.add(gettext("Times"), [times for _, times in rows])
    return chart


def _bars(kind: Any, **options: Any) -> Any:
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
    "months":     Chart(N_("Requests of our patrons by month and outcome"), _months),
    "turnaround": Chart(N_("Books by the days from the request to our hold shelf"), _turnaround),
    "declines":   Chart(N_("Reasons for which lenders did not supply"), _declines),
})
"""By the table that they stand above."""
# fmt: on
