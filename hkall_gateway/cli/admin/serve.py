"""Commands serve and reload: run the start checks and the gateway, and reload its configuration."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hkall_gateway.app.machine import address_space
from hkall_gateway.cli.options import WRONG, CliError, config_option
from hkall_gateway.cli.show import echo

if TYPE_CHECKING:
    from hkall_gateway.app.resources import Serving
    from hkall_gateway.app.start_checks.faults import StartFault
    from hkall_gateway.config.gateway import GatewayConfig
    from hkall_gateway.observability.log_console import LogFormat
    from hkall_gateway.rules.settings import Policy


WEB = click.Choice(["web"])
LEAST_ADDRESS_SPACE: Final = 1 << 30
"""Minimum address space (RLIMIT_AS), in bytes, that a gateway with web pages needs for its threads, libraries and files.

Below it, a library written in C may end the process without a log line.
"""
RELOAD_S: Final = 60.0
"""Seconds to wait for the gateway to reload its configuration."""
POLL_S: Final = 0.05


@click.command()
@click.option("--only", type=WEB, help="Serve the pages for browsers alone, beside a gateway on the same database.")
@click.option("--without", type=WEB, help="Serve all but the pages, where a process of its own has them.")
@click.option(
    "--channel",
    type=click.IntRange(0, 2**31 - 1),
    hidden=True,
    help="Descriptor of the socket to the parent of the pages' process.",
)
@click.option(
    "--log-format",
    type=click.Choice(["json", "console"]),
    help="JSON lines, or lines for people; the default is console on a terminal, else json.",
)
@config_option
def serve(config: Path, only: str | None, without: str | None, channel: int | None, log_format: LogFormat | None) -> None:
    """Run the daemon in the foreground, with its log on standard output, and a second process for the pages of [web].

    SIGTERM: finish the messages in progress, then exit. SIGHUP: reload the configuration.

    \b
    Example: hkall-gateway serve --config /etc/hkall/gateway.toml
    Example: hkall-gateway serve --only web
    Example: hkall-gateway serve --log-format console 2>&1 | less
    """  # noqa: D301  # click interprets \b
    limit = address_space()
    if limit is not None and limit < LEAST_ADDRESS_SPACE:
        raise CliError(
            f"the limit of {limit >> 20:,} MiB of address space is too low: it needs {LEAST_ADDRESS_SPACE >> 20:,} MiB "
            "(ulimit -v, prlimit --as, LimitAS of systemd); to limit its memory, use MemoryMax"
        )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # no configuration is loaded yet
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end_before_start)  # until the gateway process installs its own handlers
    if channel is not None and "LISTEN_FDS" in os.environ:
        os.environ["LISTEN_PID"] = str(os.getpid())  # the parent could not know our process id; Twisted compares it on import

    from hkall_gateway.app import process
    from hkall_gateway.app.start_checks.faults import Effect
    from hkall_gateway.cli.opening import load_config

    if only and without:
        raise CliError("--only and --without: choose one", WRONG)
    # The parent of a web process has already checked the variables, and run the start checks and reported the faults.
    found, library = load_config(config, os.environ if channel is None else None)
    if only and found.web is None:
        raise CliError(f"{config}: --only web: there is no [web] table", WRONG)
    faults = (
        find_start_faults(config, found, library.policy, _serving_kind(only, without), running=False) if channel is None else []
    )
    for fault in faults:
        echo(f"{config}: {fault}", err=True)
    if any(fault.effect is not Effect.TOLERATED for fault in faults):
        raise SystemExit(WRONG)
    raise SystemExit(process.serve(config, serving=_serving_kind(only, without), log_format=log_format, channel=channel))


def _end_before_start(number: int, _frame: object) -> None:
    """Exit with code 0, as after an orderly stop. No log is open yet, so the reason goes to standard error."""
    echo(f"{signal.Signals(number).name} before the start: nothing was begun", err=True)
    raise SystemExit(0)


def _serving_kind(only: str | None, without: str | None) -> Serving:
    from hkall_gateway.app.resources import Serving

    return Serving.WEB_ALONE if only else Serving.WITHOUT_WEB if without else Serving.ALL


@click.command("reload")
@click.option(
    "--pid",
    type=click.IntRange(1, 2**31 - 1),
    envvar="MAINPID",
    required=True,
    help="The gateway's process; systemd sets MAINPID.",
)
@config_option
def reload_gateway(config: Path, pid: int) -> None:
    """Check the configuration, make the running gateway reload it, and print the outcome.

    Exit code 2: the configuration has errors, and the gateway was not notified; 1: the gateway keeps the old one, for the
    reason shown.
    Variables with secrets are not checked here: the gateway uses those that it was started with.
    The outcome is read from the folder in RUNTIME_DIRECTORY, which systemd sets for both processes; without it see the log.
    Example: hkall-gateway reload --pid 4711
    """
    from hkall_gateway.app.start_checks.faults import Effect
    from hkall_gateway.cli.opening import load_config

    found, library = load_config(config, None)
    faults = find_start_faults(config, found, library.policy)
    for fault in faults:
        echo(f"{config}: {fault}", err=True)
    if any(fault.effect is Effect.REFUSED for fault in faults):
        raise SystemExit(WRONG)
    reload_running(pid)


def find_start_faults(
    path: Path, config: GatewayConfig, policy: Policy, serving: Serving | None = None, *, running: bool = True
) -> list[StartFault]:
    """Return the faults that would prevent or disturb a start. With `running`, the gateway may already occupy its own ports."""
    from hkall_gateway.app.machine import instance, number, runs
    from hkall_gateway.app.resources import Serving
    from hkall_gateway.app.start_checks.faults import Start
    from hkall_gateway.app.start_checks.table import find_faults
    from hkall_gateway.clock import now

    trust_clock = bool(os.environ.get("HKALL_TRUST_CLOCK"))
    return find_faults(
        Start(
            path=path,
            config=config,
            policy=policy,
            instance=instance(),
            number=number(),
            now=now(),
            pid_runs=runs,
            serving=serving or Serving.ALL,
            running=running,
            trust_clock=trust_clock,
        )
    )


def reload_running(pid: int) -> None:
    """Send SIGHUP to the gateway and print the keys that need a restart. Raise CliError if the reload failed."""
    from hkall_gateway.app.service_manager import read_reload

    before = read_reload(os.environ)
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise CliError(f"process {pid}: {error.strerror}") from None
    if "RUNTIME_DIRECTORY" not in os.environ:
        echo(f"process {pid} reads its configuration again; its log says with which outcome")
        return
    end = time.monotonic() + RELOAD_S
    while (after := read_reload(os.environ)) == before:
        if time.monotonic() > end:
            raise CliError(f"process {pid} has not read its configuration within {RELOAD_S:.0f} s: see its log")
        time.sleep(POLL_S)
    if errors := after.get("errors"):
        raise CliError("\n".join(f"not reloaded: {error}" for error in errors))
    waiting = after.get("waiting", [])
    echo("reloaded" + (f"; a restart is needed for {', '.join(waiting)}" if waiting else ""))
