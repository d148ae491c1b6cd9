"""`python -m bench`, which `make bench` runs: measures the rows, shows them, and names those that fall short."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import click

from bench.build_host import services
from bench.builds import Build, named
from bench.compared import compared
from bench.measuring import measure
from bench.pages import BEGIN, END, has_place, screen, write
from bench.plan import FEW, Plan, Size
from bench.plot import draw
from bench.report import ALL_PARTS, BenchReport, Records, as_records, short, together
from bench.rows import ROWS, Row, rows
from hkall_gateway.cli.options import CliError

USUAL = Plan(rounds=5, seconds=0.8, size=Size(), idle_s=60, soak_s=0)
SIZES = ("patrons", "holdings", "waiting", "closed", "catalogue", "loaded")
QUICK = Plan(rounds=2, seconds=0.2, size=Size(closed=30_000, catalogue=30_000, loaded=20_000), idle_s=5, soak_s=0)


@click.command()
@click.option("--only", metavar="ROW", multiple=True, help="This row, or all rows that begin so; may be repeated.")
@click.option("--connections", type=int, multiple=True, help=f"Ratios over so many connections alone; else {FEW} and more.")
@click.option("--rounds", type=click.IntRange(1), help=f"Rounds; {USUAL.rounds}, with --quick {QUICK.rounds}.")
@click.option("--seconds", type=float, help=f"Length of one run; {USUAL.seconds}, with --quick {QUICK.seconds}.")
@click.option("--patrons", default=USUAL.size.patrons, show_default=True, help="Patrons of the generated library.")
@click.option("--holdings", default=USUAL.size.holdings, show_default=True, help="Copies elsewhere.")
@click.option("--open", "waiting", default=USUAL.size.open, show_default=True, help="Books on the hold shelf.")
@click.option("--closed", type=int, help=f"Closed requests of growth; {USUAL.size.closed}, with --quick {QUICK.size.closed}.")
@click.option("--catalogue", type=int, help=f"Titles of searches; {USUAL.size.catalogue}, with --quick {QUICK.size.catalogue}.")
@click.option("--loaded", type=int, help=f"Rows of loading; {USUAL.size.loaded}, with --quick {QUICK.size.loaded}.")
@click.option("--idle", type=float, help=f"Seconds of idle_500; {USUAL.idle_s}, with --quick {QUICK.idle_s}.")
@click.option("--soak", default=0.0, metavar="MINUTES", help="Measure the rows of soak too, for so many minutes.")
@click.option("--quick", is_flag=True, help="A short run: fewer and shorter rounds, fewer cells.")
@click.option("--check", is_flag=True, help="Exit 1 and name the rows that miss their demand.")
@click.option("--json", "as_json", is_flag=True, help="Print records instead of tables.")
@click.option(
    "--plot", type=click.Path(dir_okay=False), metavar="FILE.svg", help="Draw the results into FILE; needs matplotlib."
)
@click.option(
    "--write",
    "pages",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.md",
    help="Write the tables into this page, between its two marks; may be repeated.",
)
@click.option(
    "--from",
    "files",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    multiple=True,
    metavar="FILE.json",
    help="Measure nothing: show what --json printed before. Repeated, a later file counts where both have a row.",
)
@click.option(
    "--build",
    "builds",
    multiple=True,
    metavar="NAME=PATH",
    callback=lambda _context, _option, texts: _builds(texts),
    help="Measure the rows at another build too: a checkout with its .venv, or a virtual environment. May be repeated; this "
    "checkout and the others are compared with the first.",
)
@click.option("--list", "listed", is_flag=True, help="Name the rows and measure nothing.")
def bench(
    *,
    only: tuple[str, ...],
    connections: tuple[int, ...],
    quick: bool,
    check: bool,
    as_json: bool,
    plot: str | None,
    pages: tuple[Path, ...],
    files: tuple[Path, ...],
    builds: Mapping[str, Build],
    listed: bool,
    **sizes: float | None,
) -> None:
    """Measure this gateway, as a real process over TCP, beside the raw ceiling, the naive design and its peers.

    Subjects take turns in every round, each on a fresh copy of a generated library; every answer is checked, and
    afterwards the database is. Rates depend on the machine: the ratios count.
    Example: make bench ARGS='--only sip2_63_vs_echo --rounds 3'
    """

    plain = [row for row in rows(only, connections) if only or not quick or row.demanded]
    chosen = list(compared(plain, {name: build.works for name, build in builds.items()}))
    if not chosen:
        raise click.UsageError(f"no such row; there are {', '.join(row.key for row in ROWS)}")
    if listed:
        click.echo("\n".join(f"{row.key:26} {row.demand!s:9} {row.measure.how}" for row in chosen))
        return
    _check_outputs(plot, pages)
    how = plan(QUICK if quick else USUAL, sizes)
    records = together(map(_read, files)) if files else as_records(_measured(chosen, how, builds))
    click.echo(json.dumps(records, indent=1) if as_json else screen(records))
    if plot:
        draw(records, plot)
    for page in pages:
        write(records, page)
    _judge(records, check)


def _builds(texts: Sequence[str]) -> dict[str, Build]:
    """The builds that are named, in their order; click.BadParameter if one cannot be."""
    try:
        return {build.name: build for build in map(named, texts)}
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _check_outputs(plot: str | None, pages: Sequence[Path]) -> None:
    """click.UsageError now, rather than after an hour of measuring, if there is no way to draw or no place to write."""

    if plot and find_spec("matplotlib") is None:
        raise click.UsageError("--plot needs matplotlib, which the extra `bench` brings: make .venv/.bench")
    for page in pages:
        if not has_place(page):
            raise click.UsageError(f"{page} has no place for tables: a line {BEGIN!r} and below it a line {END!r}")


def _read(file: Path) -> Records:
    """What --json printed; click.UsageError if this is something else."""

    try:
        found: Records = json.loads(file.read_text(encoding="utf-8"))
        missing = [part for part in ALL_PARTS if part not in found]
    except (ValueError, TypeError) as error:
        raise click.UsageError(f"{file}: not what --json printed: {error}") from error
    if missing:
        raise click.UsageError(f"{file}: not what --json printed: there is no {missing[0]!r}")
    return found


def _judge(records: Records, check: bool) -> None:
    """End as the records say: 3 where something was tried and did not work, 1 where `check` demands more."""

    if records["failed"]:
        raise CliError(f"the benchmark itself failed at: {', '.join(records['failed'])}", 3)
    if check and (lacking := short(records)):
        raise CliError(f"these rows miss their demand: {', '.join(lacking)}")


def plan(usual: Plan, said: Mapping[str, float | None]) -> Plan:
    """The usual plan with what the command line says of it."""
    told = {name: value for name, value in said.items() if value is not None}
    size = Size(*(int(told.get(name, known)) for name, known in zip(SIZES, asdict(usual.size).values(), strict=True)))
    often, long = int(told.get("rounds", usual.rounds)), float(told.get("seconds", usual.seconds))
    return Plan(often, long, size, float(told.get("idle", usual.idle_s)), float(told.get("soak", 0)) * 60)


def _measured(chosen: Sequence[Row], how: Plan, builds: Mapping[str, Build]) -> BenchReport:
    with _ended_as_by_hand():
        return measure(chosen, how, replace(services(), builds=builds))


@contextmanager
def _ended_as_by_hand() -> Iterator[None]:
    """Let SIGTERM stop the servers first, as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    bench(prog_name="make bench")
