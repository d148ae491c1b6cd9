"""simulate: several libraries in one process with network faults and crashes, from a seed; prints each lost request."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hkall_gateway.cli.options import REFUSED, WRONG, CliError, config_option
from hkall_gateway.cli.show import echo

if TYPE_CHECKING:
    from hkall_gateway.config.gateway import GatewayConfig
    from hkall_gateway.simulator.consortium.simulate import SimulationReport


# ---- simulate-partner: one configured partner and a mailbox on this machine, to rehearse before going live.


FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("simulate-partner")
@click.argument("agency")
@click.option("--ships-after", type=float, default=2.0, show_default=True, help="Seconds until it ships a requested copy.")
@click.option("--certificate", type=FILE, help="Its certificate, where the url begins with https:.")
@click.option("--key", type=FILE, help="The key of that certificate; the default is that the same file has it.")
@config_option
def simulate_partner(config: Path, agency: str, ships_after: float, certificate: Path | None, key: Path | None) -> None:
    """Answer as the partner AGENCY would, at the `url` of its row, which must be on this machine; ends with Ctrl-C.

    It ships every copy that is requested of it, and receives what comes back. If the mail server of [smtp] is
    on this machine too, it takes letters there. It prints each document and letter as one line.

    Where the url begins with https:, give it a certificate for that name that this machine trusts.

    Example: hkall-gateway simulate-partner CUHK
    """
    from twisted.internet.defer import ensureDeferred
    from twisted.internet.task import react

    from hkall_gateway.cli.work.opening import load_config

    found, _library = load_config(config)
    shown = (certificate, key or certificate) if certificate else None
    react(lambda reactor: ensureDeferred(_run(found, agency, ships_after, shown, reactor)))


async def _run(config: GatewayConfig, agency: str, ships_after_s: float, shown: tuple[Path, Path] | None, reactor: Any) -> None:
    from twisted.internet.defer import Deferred
    from twisted.internet.error import CannotListenError

    from hkall_gateway.net.tls import ERRORS
    from hkall_gateway.simulator.rehearsal import NotHere, Rehearsal

    try:
        rehearsal = Rehearsal(config, agency, os.environ, reactor, ships_after_s, echo, shown)
        await rehearsal.start()
    except NotHere as error:
        raise _ending(str(error), WRONG) from None
    except CannotListenError as error:
        raise _ending(f"port {error.port}: {error.socketError.strerror}", REFUSED) from None
    except ERRORS as error:
        raise _ending(f"{agency}: its certificate cannot be used: {error}", WRONG) from None
    letters = f", and for letters on port {rehearsal.mail_port}" if rehearsal.mail_port else ""
    echo(f"{agency} is simulated: it listens on port {rehearsal.port}{letters}")
    await Deferred()


def _ending(message: str, exit_code: int) -> SystemExit:
    """The end of the reactor's run, after one line on standard error."""
    CliError(message).show()
    return SystemExit(exit_code)


@click.command()
@click.option("--libraries", type=click.IntRange(2, 8), default=3, show_default=True, help="Number of libraries.")
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
