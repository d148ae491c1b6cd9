"""A picture of the records: throughput against connections and against the database's size, and each row with its demand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bench.plan import FEW
from bench.report import Records
from bench.rows import ROWS
from bench.situations.growth import SIZED

SIZE_INCHES: Final = (17.0, 12.0)
MET, SHORT, PLAIN = "#2a7f62", "#b3392f", "#7a7a7a"
LAYOUT: Final = (
    ("sip2_63", "sip2_11", "rows"),
    ("lookup_user", "request_item", "rows"),
    ("growth", "growth", "rows"),
)
"""The place of each part: a work of WORKS, the rates by size, and the rows."""


def draw(records: Records, file: str) -> None:
    """Writes the picture; the ending of the file name selects the format. ImportError without matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCHES, layout="constrained")
    parts = figure.subplot_mosaic([list(line) for line in LAYOUT])
    for name, axes in parts.items():
        {"rows": _rows, "growth": _growth}.get(name, _connections)(axes, name, records)
    figure.savefig(file)


def _connections(axes: Any, work: str, records: Records) -> None:
    """Draws one line for each subject, of other builds for the compiled one."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for cell in records["cells"]:
        if cell["work"] == work and cell["subject"].partition("@")[2] in ("", "compiled"):
            lines.setdefault(cell["subject"], []).append((cell["connections"], cell["rate"]))
    _lines(axes, lines)
    axes.set_title(work)
    axes.set_xlabel("connections")
    axes.set_xticks(FEW, map(str, FEW))


def _growth(axes: Any, _name: str, records: Records) -> None:
    """Draws one line for each work."""
    lines: dict[str, list[tuple[int, float]]] = {}
    for name, spread in records["figures"].get("growth", {}).items():
        work, found, closed = name.partition(SIZED)
        if found:
            lines.setdefault(work, []).append((int(closed), _median(spread)))
    _lines(axes, lines)
    axes.set_title("with years of history")
    axes.set_xlabel("closed requests in the database")


def _lines(axes: Any, lines: Mapping[str, list[tuple[int, float]]]) -> None:
    for name, points in sorted(lines.items()):
        axes.plot(*zip(*sorted(points), strict=True), "o-", label=name)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_ylabel("answers a second")
    if lines:
        axes.legend(fontsize="x-small", loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _rows(axes: Any, _name: str, records: Records) -> None:
    """Median, lowest and highest of each row with a demand, in green where it is met."""
    some = [(row, records["ratios"][row.key]) for row in reversed(ROWS) if row.demanded and row.key in records["ratios"]]
    for at, (row, found) in enumerate(some):
        colour = MET if found["met"] else SHORT
        axes.plot([found["lowest"], found["highest"]], [at, at], color=colour, linewidth=2)
        axes.plot([found["median"]], [at], "o", color=colour)
        for bound in row.demand.bounds:
            axes.plot([bound], [at], "|", color="black", markersize=12)
    axes.set_yticks(range(len(some)), [row.key for row, _ in some])
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(left=-0.005)
    axes.set_title("ratios, and in black what is demanded")


def _median(spread: Mapping[str, Any]) -> float:
    from statistics import median

    return float(median(spread["values"]))
