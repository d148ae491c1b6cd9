"""simulate: several libraries in one process with network faults and crashes, from a seed; prints each lost request."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from hkall_gateway.cli.options import WRONG, CliError
from hkall_gateway.cli.show import echo
from hkall_gateway.simulator.agencies import AGENCIES

if TYPE_CHECKING:
    from hkall_gateway.simulator.consortium.simulate import SimulationReport


@click.command()
@click.option("--libraries", type=click.IntRange(2, len(AGENCIES)), default=3, show_default=True, help="Number of libraries.")
@click.option("--days", type=click.IntRange(1), default=10, show_default=True, help="Days with new requests.")
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed gives the same run, byte for byte.")
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="Number of runs, with seeds from --seed on."
)
@click.option(
    "--loss", type=click.FloatRange(0, 1), default=0.1, show_default=True, help="Share of documents that are lost or damaged."
)
@click.option("--crash", is_flag=True, help="Kill gateways at random commits, and let disks refuse some.")
@click.option("--requests", type=click.IntRange(1), default=5, show_default=True, help="Requests for each library and day.")
@click.option("--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at the same time.")
@click.option("--database", default="", metavar="URL", help="Use schemas of this PostgreSQL database instead of memory.")
def simulate(
    libraries: int, days: int, seed: int, seeds: int, loss: float, crash: bool, requests: int, jobs: int, database: str
) -> None:
    """Let simulated libraries borrow from each other over faulty links; exit 1 if a book or a message is lost.

    Example: hkall-gateway simulate --libraries 8 --days 60 --seed 7 --loss 0.1 --crash
    """

    from hkall_gateway.simulator.consortium.simulate import Setting, be_quiet, simulate_all

    be_quiet()
    url = _with_driver(database)
    settings = [Setting(libraries, days, n, loss, crash, requests, url) for n in range(seed, seed + seeds)]
    failed = [report.setting.seed for report in simulate_all(settings, jobs) if not _report(report)]
    if failed:
        raise CliError(f"something was lost with seed {', '.join(map(str, failed))}")
    echo("nothing was lost")


def _with_driver(url: str) -> str:
    """The URL as a configuration file may have it. CliError for any other database."""
    found = url.replace("postgresql://", "postgresql+psycopg://", 1)
    if found and not found.startswith("postgresql+psycopg://"):
        raise CliError(f"--database: {url!r} must begin with postgresql+psycopg://", WRONG)
    return found


def _report(report: SimulationReport) -> bool:
    """Print one simulation's line and each loss; return whether there was no loss."""
    ends, faults = _counted(report.ends), sum(report.faults.values())
    echo(
        f"seed {report.setting.seed}: {report.placed} of {report.asked} requests placed; {ends}; {faults} faults,"
        f" {report.deaths} deaths; settled {report.settled_after.days} days after; journals {report.fingerprint[:16]}"
    )
    for line in report.broken:
        echo(f"  LOST {line}")
    return not report.broken


def _counted(ends: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(ends.items()))
