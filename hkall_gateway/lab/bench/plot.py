"""A picture of the rows: how far each is above or below what is demanded of it."""

from __future__ import annotations

from hkall_gateway.lab.bench.report import Report

WIDTH_INCHES, ROW_INCHES = 9.0, 0.35
MET, SHORT, PLAIN = "#2a7f62", "#b3392f", "#7a7a7a"


def draw(report: Report, file: str) -> None:
    """Write the picture; the ending of the name says in which format. ImportError without matplotlib."""
    from matplotlib.figure import Figure

    rows = list(report.spreads.items())[::-1]
    figure = Figure(figsize=(WIDTH_INCHES, ROW_INCHES * len(rows) + 1.5), layout="constrained")
    axes = figure.subplots()
    for at, (row, spread) in enumerate(rows):
        colour = (MET if row.demand.met(spread.median) else SHORT) if row.demanded else PLAIN
        axes.plot([spread.lowest, spread.highest], [at, at], color=colour, linewidth=2)
        axes.plot([spread.median], [at], "o", color=colour)
        for bound in row.demand.bounds:
            axes.plot([bound], [at], "|", color="black", markersize=12)
    axes.set_yticks(range(len(rows)), [row.key for row, _ in rows])
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlabel("median of the rounds, lowest to highest; the black stroke is what is demanded")
    figure.savefig(file)
