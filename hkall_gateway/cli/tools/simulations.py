"""Commands simulate, simulate-partner and replay: a consortium, one partner, and scenario files.

No other command imports the simulator. The `cli` lines of a scenario run the same commands on the scenario's site.
"""

from __future__ import annotations

import os
import time
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hkall_gateway.cli.options import REFUSED, WRONG, CliError, NcipAgreements, Site, config_option
from hkall_gateway.cli.show import echo
from hkall_gateway.cli.tools.clients import connected, password_of
from hkall_gateway.simulator import AGENCIES

if TYPE_CHECKING:
    from hkall_gateway.clock import Clock
    from hkall_gateway.config.gateway import GatewayConfig
    from hkall_gateway.simulator.scenario.live_gateway import Live
    from hkall_gateway.simulator.scenario.steps import CommandLine, ScenarioTarget


PAUSE_S: Final = 0.5
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("simulate-partner")
@click.argument("agency")
@click.option("--ships-after", type=float, default=2.0, show_default=True, help="Seconds until it ships a requested copy.")
@click.option("--certificate", type=FILE, help="Its certificate, where the url begins with https:.")
@click.option("--key", type=FILE, help="The key of that certificate; the default is that the same file has it.")
@config_option
def simulate_partner(config: Path, agency: str, ships_after: float, certificate: Path | None, key: Path | None) -> None:
    """Answer as the partner AGENCY would, at the `url` of its row, which must be on this machine; ends with Ctrl-C.

    It ships every requested copy, and receives returned copies. If the mail server of [smtp] is also on this machine, it
    accepts letters there. It prints each document and letter as one line.

    If the url begins with https:, --certificate must be trusted by this machine and valid for the url's host name.

    Example: hkall-gateway simulate-partner CUHK
    """
    from twisted.internet.defer import ensureDeferred
    from twisted.internet.task import react

    from hkall_gateway.cli.opening import load_config

    found, _library = load_config(config)
    shown = (certificate, key or certificate) if certificate else None
    react(lambda reactor: ensureDeferred(_run_rehearsal(found, agency, ships_after, shown, reactor)))


async def _run_rehearsal(
    config: GatewayConfig, agency: str, ships_after_s: float, shown: tuple[Path, Path] | None, reactor: Clock
) -> None:
    from twisted.internet.defer import Deferred
    from twisted.internet.error import CannotListenError

    from hkall_gateway.net.tls import ERRORS
    from hkall_gateway.simulator.rehearsal import NotHere, Rehearsal

    try:
        rehearsal = Rehearsal(config, agency, os.environ, reactor, ships_after_s, echo, shown)
        await rehearsal.start()
    except NotHere as error:
        raise _end_reactor(str(error), WRONG) from None
    except CannotListenError as error:
        raise _end_reactor(f"port {error.port}: {error.socketError.strerror}", REFUSED) from None
    except ERRORS as error:
        raise _end_reactor(f"{agency}: its certificate cannot be used: {error}", WRONG) from None
    letters = f", and for letters on port {rehearsal.mail_port}" if rehearsal.mail_port else ""
    echo(f"{agency} is simulated: it listens on port {rehearsal.port}{letters}")
    await Deferred()


def _end_reactor(message: str, exit_code: int) -> SystemExit:
    """Print the message on standard error, and return the exception that ends the reactor's run."""
    CliError(message).show()
    return SystemExit(exit_code)


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
    url = database.replace("postgresql://", "postgresql+psycopg://", 1)
    if url and not url.startswith("postgresql+psycopg://"):
        raise CliError(f"--database: {database!r} must begin with postgresql+psycopg://", WRONG)
    settings = [
        Setting(libraries=libraries, days=days, seed=n, loss=loss, crash=crash, requests_a_day=requests, database=url)
        for n in range(seed, seed + seeds)
    ]
    failed = []
    for report in simulate_all(settings, jobs, type_as_clerk):
        ends = ", ".join(f"{name} {count}" for name, count in sorted(report.ends.items()))
        faults = sum(report.faults.values())
        echo(
            f"seed {report.setting.seed}: {report.placed} of {report.asked} requests placed; {ends}; {faults} faults,"
            f" {report.deaths} deaths; settled {report.settled_after.days} days after; journals {report.fingerprint[:16]}"
        )
        for line in report.broken:
            echo(f"  LOST {line}")
        failed += [report.setting.seed] if report.broken else []
    if failed:
        raise CliError(f"something was lost with seed {', '.join(map(str, failed))}")
    echo("nothing was lost")


@click.command()
@click.argument("scenarios", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--live", is_flag=True, help="Run the files against the gateway that runs with this configuration.")
@click.option("--sip2", "terminals_at", metavar="HOST:PORT", help="--live: address of the SIP2 port.", default="127.0.0.1:6001")
@click.option(
    "--ncip", "partners_at", metavar="URL", help="--live: URL of the NCIP port.", default="http://127.0.0.1:8080/ncip"
)
@click.option("--password-env", help="--live: environment variable with the terminals' password; the default is to ask for it.")
@click.option(
    "--timeout", "timeout_s", type=float, default=10.0, show_default=True, help="--live: seconds to wait for a reply."
)
@config_option
def replay(
    scenarios: tuple[Path, ...],
    live: bool,
    terminals_at: str,
    partners_at: str,
    password_env: str | None,
    timeout_s: float,
    config: Path,
) -> None:
    """Run scenario files, each in its own gateway inside this process, or with --live all against a running gateway.

    A running gateway keeps its own time and partners, so these files may only send (sip2, ncip, cli) and check (<, state,
    outbox). Their effects stay.

    \b
    Example: hkall-gateway replay fixtures/scenarios/the-story.txt
    Example: hkall-gateway replay --live --config var/demo/gateway.toml fixtures/live/the-demo-answers.txt
    """  # noqa: D301  # click interprets \b
    from hkall_gateway.simulator.scenario.runner import replay as run_files

    main = click.get_current_context().find_root().command
    if live:
        from hkall_gateway.cli.opening import open_site
        from hkall_gateway.simulator.scenario.live_gateway import play_live

        site = open_site(config)
        way = way_to(config, site, password_of(password_env), terminals_at, partners_at, timeout_s)
        played = [play_live(path, way, lambda _told, words: _run_command(main, words, site)) for path in scenarios]
    else:
        played = list(run_files(scenarios, command_line(main)))
    failures = [one.failure for one in played if one.failure]
    for failure in failures:
        echo(failure, err=True)
    echo(f"{len(scenarios) - len(failures)} of {len(scenarios)} scenarios hold")
    if failures:
        raise CliError(f"{len(failures)} failed")


def command_line(main: click.Command) -> CommandLine:
    """Return the function for `cli` lines, which runs a command of `main` in the scenario's world and returns all output."""
    from hkall_gateway.simulator.scenario.world import World

    def run(target: ScenarioTarget, words: list[str]) -> str:
        from hkall_gateway.simulator.scenario.world import LETTER_KEY

        assert isinstance(target, World)
        partners = tuple(target.start.partners)
        agreed = NcipAgreements({partner.agency: target.secret(partner.agency) for partner in partners})
        site = Site(
            library=target.circulation.library,
            open_circulation=lambda: target.circulation,
            store=target.store,
            now=lambda: target.now,
            partners=partners,
            agreed=lambda: agreed,
            post=target.post,
            asks_local_system=not target.circulation.ils.loaded,
            bounce_key=LETTER_KEY,
        )
        return _run_command(main, words, site)

    return run


def type_as_clerk(target: ScenarioTarget, words: list[str]) -> str:
    """Run a command in a simulated library, always under the same name, so that the journals are the same for everybody."""
    from hkall_gateway.cli import main

    login = os.environ.get("SUDO_USER")
    os.environ["SUDO_USER"] = "clerk"
    try:
        return command_line(main)(target, words)
    finally:
        if login is None:
            del os.environ["SUDO_USER"]
        else:
            os.environ["SUDO_USER"] = login


def _run_command(main: click.Command, words: list[str], site: Site) -> str:
    printed = StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            main.main(words, "hkall-gateway", standalone_mode=False, obj=site)
        except click.ClickException as ending:
            ending.show()
    return printed.getvalue()


def way_to(path: Path, site: Site, password: str, terminals_at: str, partners_at: str, timeout_s: float) -> Live:
    """Describe how to reach a running gateway: its endpoints and database. All terminals share one password."""
    from hkall_gateway.circulation import listings, queries
    from hkall_gateway.cli.opening import load_config
    from hkall_gateway.config import mapping as config_mapping
    from hkall_gateway.db.outbox import UNSETTLED
    from hkall_gateway.net.http_post import NoReply, post
    from hkall_gateway.simulator.scenario.live_gateway import Live

    config, library = load_config(path)

    def send(document: bytes) -> bytes:
        try:
            return post(partners_at, document, timeout_s).body
        except NoReply as failed:
            raise OSError(str(failed)) from None

    return Live(
        agency=library.agency,
        call=lambda: connected(terminals_at, timeout_s),
        post=send,
        password=password,
        encodings={login: row.dialect.encoding for login, row in config_mapping.terminals(config, library.policy).items()},
        secrets=config_mapping.agreed_secrets(config, os.environ),
        dialects={row.agency: row.dialect for row in config.partners},
        find_request=lambda number: site.execute(queries.find_request(number)),
        outbox=lambda: site.execute(listings.outbox_rows("", "", UNSETTLED)),
        now=site.now,
        pause=lambda: time.sleep(PAUSE_S),
    )
