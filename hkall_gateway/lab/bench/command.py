"""`hkall-gateway bench`: run the rows, show them, and say which fall short."""

from __future__ import annotations

import json
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from hkall_gateway.daemon import now
from hkall_gateway.lab.bench import subjects, turns
from hkall_gateway.lab.bench.ground import Ground
from hkall_gateway.lab.bench.report import Report, as_json, table
from hkall_gateway.lab.bench.rows import ROWS, Row, rows
from hkall_gateway.lab.bench.world import Size

ROUNDS, QUICK_ROUNDS = 5, 2
SECONDS, QUICK_SECONDS = 1.0, 0.3


@click.command("bench")
@click.option("--only", metavar="ROW", multiple=True, help="This row, or those that begin so; may be repeated.")
@click.option("--rounds", type=click.IntRange(1), help=f"Rounds of every row; {ROUNDS}, with --quick {QUICK_ROUNDS}.")
@click.option("--seconds", type=float, help=f"Length of one run; {SECONDS}, with --quick {QUICK_SECONDS}.")
@click.option("--patrons", default=Size().patrons, show_default=True, help="Patrons of the generated library.")
@click.option("--holdings", default=Size().holdings, show_default=True, help="Copies elsewhere.")
@click.option("--open", "waiting", default=Size().open, show_default=True, help="Books on the hold shelf.")
@click.option("--closed", default=Size().closed, show_default=True, help="Closed requests of the row of growth.")
@click.option("--quick", is_flag=True, help="A look in two minutes: fewer and shorter rounds.")
@click.option("--check", is_flag=True, help="Exit 1 and name the rows that fall short of what is demanded.")
@click.option("--json", "as_records", is_flag=True, help="Print records instead of tables.")
@click.option("--list", "listed", is_flag=True, help="Name the rows and measure nothing.")
def main(
    only: tuple[str, ...],
    rounds: int | None,
    seconds: float | None,
    patrons: int,
    holdings: int,
    waiting: int,
    closed: int,
    quick: bool,
    check: bool,
    as_records: bool,
    listed: bool,
) -> None:
    """Measure this gateway, as a real process over TCP, beside the raw ceiling, the naive design and its peers.

    Subjects take turns in every round, each on a fresh copy of a generated library; every answer is checked, and
    afterwards the database is. Rates depend on the machine: the ratios count.
    Example: hkall-gateway bench --only sip2_63 --rounds 3
    """
    chosen = tuple(rows(only))
    if not chosen:
        raise click.UsageError(f"no such row; there are {', '.join(row.key for row in ROWS)}")
    if listed:
        click.echo("\n".join(f"{row.key:28} {row.how}" for row in chosen))
        return
    size = Size(patrons, holdings, waiting, closed)
    often = rounds or (QUICK_ROUNDS if quick else ROUNDS)
    report = measure(chosen, size, often, seconds or (QUICK_SECONDS if quick else SECONDS))
    click.echo(json.dumps(as_json(report), indent=1) if as_records else table(report))
    if check and report.short:
        click.echo(f"these fall short: {', '.join(report.short)}", err=True)
        raise SystemExit(1)


def measure(chosen: tuple[Row, ...], size: Size, rounds: int, seconds: float) -> Report:
    """Run these rows in a folder of their own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="hkall-bench-") as folder, ExitStack() as closing:
        ground = Ground(Path(folder), size, now(), closing)
        cells = {cell for row in chosen for cell in row.cells}
        runs = turns.take_turns(cells, rounds, seconds, size, partial(subjects.start, ground), _progress)
    return Report(runs, {row: row.spread(runs) for row in chosen})


def _progress(text: str) -> None:
    click.echo(text, err=True)
