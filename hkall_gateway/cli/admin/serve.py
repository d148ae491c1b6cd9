"""serve, check-config, reload, hash-secret."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Final

import click

from hkall_gateway.app.machine import address_space
from hkall_gateway.cli.options import WRONG, CliError, config_option
from hkall_gateway.cli.show import echo

if TYPE_CHECKING:
    from hkall_gateway.app.resources import Serving
    from hkall_gateway.observability.log_console import LogFormat


WEB = click.Choice(["web"])
LEAST_ADDRESS_SPACE: Final = 1 << 30
"""Bytes of addresses (RLIMIT_AS) that a gateway with pages needs for its threads, libraries and files. With fewer, a library
written in C may end it without a line in the log.
"""


@click.command()
@click.option("--only", type=WEB, help="Serve the pages for browsers alone, beside a gateway on the same database.")
@click.option("--without", type=WEB, help="Serve all but the pages, where a process of its own has them.")
@click.option("--channel", type=int, hidden=True, help="Descriptor of the socket to the parent of the pages' process.")
@click.option(
    "--log-format",
    type=click.Choice(["json", "console"]),
    help="JSON lines, or lines for people; the default is console on a terminal, else json.",
)
@config_option
def serve(config: Path, only: str | None, without: str | None, channel: int | None, log_format: LogFormat | None) -> None:
    """Run the daemon in the foreground, with its log on standard output, and a second process for the pages of [web].

    SIGTERM: finish the messages in hand, then end. SIGHUP: read the configuration again.

    \b
    Example: hkall-gateway serve --config /etc/hkall/gateway.toml
    Example: hkall-gateway serve --only web
    Example: hkall-gateway serve --log-format console 2>&1 | less
    """
    _check_address_space()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nothing is read yet that a reload would read again
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)  # until the process around the daemon has handlers of its own
    if channel is not None and "LISTEN_FDS" in os.environ:
        os.environ["LISTEN_PID"] = str(os.getpid())  # the parent could not know it; Twisted compares it when it is imported

    from hkall_gateway.app import process
    from hkall_gateway.app.start_checks.faults import Effect
    from hkall_gateway.cli.work.opening import load_config
    from hkall_gateway.cli.work.start import find_start_faults

    if only and without:
        raise CliError("--only and --without: choose one", WRONG)
    found, library = load_config(config)
    if only and found.web is None:
        raise CliError(f"{config}: --only web: there is no [web] table", WRONG)
    # The parent of a pages' process has made the checks, and stays the one to say what is wrong.
    faults = find_start_faults(config, found, library.policy, _serving(only, without), running=False) if channel is None else []
    for fault in faults:
        echo(f"{config}: {fault}", err=True)
    if any(fault.effect is not Effect.TOLERATED for fault in faults):
        raise SystemExit(WRONG)
    raise SystemExit(process.serve(config, serving=_serving(only, without), log_format=log_format, channel=channel))


def _check_address_space() -> None:
    limit = address_space()
    if limit is not None and limit < LEAST_ADDRESS_SPACE:
        raise CliError(
            f"the limit of {limit >> 20:,} MiB of address space is too low: it needs {LEAST_ADDRESS_SPACE >> 20:,} MiB "
            "(ulimit -v, prlimit --as, LimitAS of systemd); to limit its memory, use MemoryMax"
        )


def _end(number: int, _frame: object) -> None:
    """End as an orderly stop does, with exit code 0. No log is open yet: one line on standard error says why."""
    echo(f"{signal.Signals(number).name} before the start: nothing was begun", err=True)
    raise SystemExit(0)


def _serving(only: str | None, without: str | None) -> Serving:
    from hkall_gateway.app.resources import Serving

    return Serving.WEB_ALONE if only else Serving.WITHOUT_WEB if without else Serving.ALL


@click.command("check-config")
@click.option("--keys", is_flag=True, help="Show the keys of [ils] too, with those of an installed adapter.")
@config_option
def check_config(config: Path, keys: bool) -> None:
    """Name every error of the configuration and of the policy file at once, and whatever would stop `serve` here.

    Run it as the user of the gateway. Notes name pitfalls, and decisions and steps that the site has still to take.
    Example: hkall-gateway check-config --config gateway.toml
    """

    from hkall_gateway.app.start_checks.faults import Effect
    from hkall_gateway.cli.work.opening import load_config
    from hkall_gateway.cli.work.start import find_start_faults
    from hkall_gateway.config.docs import describe_ils, notes

    found, library = load_config(config)
    faults = find_start_faults(config, found, library.policy)
    wrong = [fault for fault in faults if fault.effect is not Effect.PENDING]
    if wrong:
        raise CliError("\n".join(f"{config}: {fault}" for fault in wrong), WRONG)
    echo(f"{config}: no errors; {len(found.partners)} partners, {len(found.sip2.terminals)} terminals")
    for where, what in notes(found, library.policy):
        echo(f"note: {where}: {what}")
    for fault in faults:
        echo(f"note: {fault}")
    if keys:
        echo(describe_ils(type(found.ils)))


_PID: Final = click.IntRange(1, 2**31 - 1)


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
    """Check the configuration, let the gateway that runs read it again, and say what it took.

    Exit code 2: it has errors, and the gateway was not asked; 1: the gateway keeps the old one, for the reason that is shown.
    The gateway alone looks for the variables with secrets: those of its start count.
    The outcome is read in the folder that RUNTIME_DIRECTORY names, as systemd sets it for both; without it see the log.
    Example: hkall-gateway reload --pid 4711
    """
    from hkall_gateway.app.start_checks.faults import Effect
    from hkall_gateway.cli.work.opening import load_config
    from hkall_gateway.cli.work.start import find_start_faults, reload_running

    found, library = load_config(config, None)
    faults = find_start_faults(config, found, library.policy)
    for fault in faults:
        echo(f"{config}: {fault}", err=True)
    if any(fault.effect is Effect.REFUSED for fault in faults):
        raise SystemExit(WRONG)
    reload_running(pid)


@click.command("hash-secret")
@click.option("--new", is_flag=True, help="Make a random secret and print it before its hash.")
def hash_secret(*, new: bool) -> None:
    """Read a password and print the hash to put into the configuration: the `secret_hash` of a terminal or of a member
    of staff, a client's or partner's `basic_hash` or `bearer_hash`.

    On a terminal it asks twice; else the first line of standard input is the password.

    \b
    Example: hkall-gateway hash-secret --new
    Example: pass show hkall/counter-1 | hkall-gateway hash-secret
    """

    from hkall_gateway.net.secrets import hash_secret as hashed

    text = token_urlsafe(32) if new else _password()
    if new:
        echo(text)
    echo(hashed(text))


def _password() -> str:
    """Return the password, typed twice on a terminal, else the first line of standard input. CliError (exit 2) if empty."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt="Again", err=True))
    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise CliError("standard input has no password on its first line", WRONG)
    return text
