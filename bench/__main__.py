"""`python -m bench`, which `make bench` runs: measure the rows, show them, and name the rows that miss their demand."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace

import click

from bench.build_host import services
from bench.builds import Build, named
from bench.compared import compared
from bench.measuring import measure
from bench.plan import Plan, Size
from bench.report import screen, short
from bench.rows import ROWS, rows
from hkall_gateway.cli.options import CliError

USUAL = Plan(rounds=5, seconds=0.8, size=Size(), soak_s=0)
QUICK = Plan(rounds=2, seconds=0.2, size=Size(closed=30_000, catalogue=30_000, loaded=20_000), soak_s=0)
SIZES = ("patrons", "holdings", "waiting", "closed", "catalogue", "loaded")


@click.command()
@click.option("--only", metavar="ROW", multiple=True, help="This row, or all rows that begin so; may be repeated.")
@click.option("--rounds", type=click.IntRange(1), help=f"Rounds; {USUAL.rounds}, with --quick {QUICK.rounds}.")
@click.option("--seconds", type=float, help=f"Length of one run; {USUAL.seconds}, with --quick {QUICK.seconds}.")
@click.option("--patrons", default=USUAL.size.patrons, show_default=True, help="Patrons of the generated library.")
@click.option("--holdings", default=USUAL.size.holdings, show_default=True, help="Copies elsewhere.")
@click.option("--open", "waiting", default=USUAL.size.open, show_default=True, help="Books on the hold shelf.")
@click.option("--closed", type=int, help=f"Closed requests of growth; {USUAL.size.closed}, with --quick {QUICK.size.closed}.")
@click.option("--catalogue", type=int, help=f"Titles of searches; {USUAL.size.catalogue}, with --quick {QUICK.size.catalogue}.")
@click.option("--loaded", type=int, help=f"Rows of loading; {USUAL.size.loaded}, with --quick {QUICK.size.loaded}.")
@click.option("--soak", default=0.0, metavar="MINUTES", help="Measure the rows of soak too, for so many minutes.")
@click.option("--quick", is_flag=True, help="A short run: fewer and shorter rounds, smaller sizes, only rows with a demand.")
@click.option("--check", is_flag=True, help="Exit 1 and name the rows that miss their demand.")
@click.option("--json", "as_json", is_flag=True, help="Print records instead of tables.")
@click.option(
    "--build",
    "builds",
    multiple=True,
    metavar="NAME=PATH",
    callback=lambda _context, _option, texts: _builds(texts),
    help="Measure the rows at another build too: a checkout with its .venv. May be repeated; this "
    "checkout and the others are compared with the first.",
)
@click.option("--list", "listed", is_flag=True, help="Name the rows and measure nothing.")
def bench(
    *,
    only: tuple[str, ...],
    quick: bool,
    check: bool,
    as_json: bool,
    builds: Mapping[str, Build],
    listed: bool,
    **sizes: float | None,
) -> None:
    """Compare this gateway, as a real process over TCP, with a bare echo server, a peer, and other builds of itself.

    Subjects take turns in every round, each on a fresh copy of a generated library. Every answer is checked, and
    finally the database. Rates depend on the machine: the ratios count.
    Example: make bench ARGS='--only sip2_63_vs_echo --rounds 3'
    """
    plain = [row for row in rows(only) if only or not quick or row.demanded]
    chosen = list(compared(plain, {name: build.works for name, build in builds.items()}))
    if not chosen:
        raise click.UsageError(f"no such row; there are {', '.join(row.key for row in ROWS)}")
    if listed:
        click.echo("\n".join(f"{row.key:26} {row.demand!s:9} {row.measure.how}" for row in chosen))
        return
    with _ended_as_by_hand():
        records = measure(chosen, plan(QUICK if quick else USUAL, sizes), replace(services(), builds=builds))
    click.echo(json.dumps(records, indent=1) if as_json else screen(records))
    if records["failed"]:
        raise CliError(f"the benchmark itself failed at: {', '.join(records['failed'])}", 3)
    if check and (lacking := short(records)):
        raise CliError(f"these rows miss their demand: {', '.join(lacking)}")


def _builds(texts: Sequence[str]) -> dict[str, Build]:
    """Return the builds of the command line, in order. Raises click.BadParameter for an unusable build."""
    try:
        return {build.name: build for build in map(named, texts)}
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def plan(usual: Plan, options: Mapping[str, float | None]) -> Plan:
    """Return the usual plan, overridden by the options of the command line."""
    given = {name: value for name, value in options.items() if value is not None}
    size = Size(*(int(given.get(name, known)) for name, known in zip(SIZES, asdict(usual.size).values(), strict=True)))
    often, long = int(given.get("rounds", usual.rounds)), float(given.get("seconds", usual.seconds))
    return Plan(often, long, size, float(given.get("soak", 0)) * 60)


@contextmanager
def _ended_as_by_hand() -> Iterator[None]:
    """Handle SIGTERM like Ctrl-C, which stops the servers first."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    bench(prog_name="make bench")
