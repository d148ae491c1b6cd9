"""Commands check-config, policy check and hash-secret: prepare the configuration and the policy file for a start."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from secrets import token_urlsafe
from typing import TYPE_CHECKING

import click

from hkall_gateway.cli.options import WRONG, CliError, config_option
from hkall_gateway.cli.show import echo

if TYPE_CHECKING:
    from hkall_gateway.config.gateway import GatewayConfig
    from hkall_gateway.db.instances import Instance
    from hkall_gateway.rules.settings import Policy


@click.command("check-config")
@click.option("--keys", is_flag=True, help="Show the keys of [ils] too, with those of an installed adapter.")
@click.option(
    "--diff",
    is_flag=True,
    help="Compare the files with what each running gateway holds, and say what a reload would apply.",
)
@config_option
def check_config(config: Path, *, keys: bool, diff: bool) -> None:
    """Report all errors of the configuration and the policy file, and whatever would stop `serve` on this machine.

    Run it as the gateway's user. Notes name pitfalls, and decisions and steps that the site still has to take. With --diff,
    changed keys, settings of the policy and secrets are named, never their values.

    \b
    Example: hkall-gateway check-config --config gateway.toml
    Example: hkall-gateway check-config --diff
    """  # noqa: D301  # click interprets \b
    from hkall_gateway.app.start_checks.faults import Effect
    from hkall_gateway.cli.admin.serve import find_start_faults
    from hkall_gateway.cli.opening import load_config
    from hkall_gateway.config.key_tables import describe_ils
    from hkall_gateway.config.notes import notes

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
    if diff:
        _show_differences(config, found, library.policy)


def _show_differences(path: Path, config: GatewayConfig, policy: Policy) -> None:
    """Print how the files differ from what each running gateway holds."""
    from hkall_gateway.circulation import listings
    from hkall_gateway.cli.opening import open_site
    from hkall_gateway.config import mapping

    gateways = open_site(path).execute(listings.held_configurations())
    if not gateways:
        echo("diff: no gateway runs on this database")
    for gateway, held in gateways:
        _show_difference(gateway, held, config, policy)
    unread = [name for name in mapping.named_variables(config) if name not in os.environ]
    if unread:
        echo(f"diff: this command cannot read, and did not compare: {', '.join(unread)}")


def _show_difference(gateway: Instance, held: str, config: GatewayConfig, policy: Policy) -> None:
    from hkall_gateway.config import fingerprints
    from hkall_gateway.config.reloading import TakesEffect

    who = f"diff: gateway {gateway.name} (process {gateway.pid} on {gateway.host})"
    if not held:
        echo(f"{who} does not say what it holds: restart it")
        return
    changes = fingerprints.compare(held, config, policy, os.environ)
    if not changes:
        echo(f"{who} holds what the files say")
        return
    reload = [change for change in changes if change.needs is TakesEffect.RELOAD]
    restart = [change for change in changes if change.needs is TakesEffect.RESTART]
    echo(f"{who}: {len(reload)} for a reload, {len(restart)} for a restart")
    for change in (*reload, *restart):
        echo(f"diff: {change.needs}: {change.what}: {change.how}")


@click.group()
def policy() -> None:
    """Check a policy file: the rules of the consortium as data.

    Example: hkall-gateway policy check policy.toml
    """


@policy.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
def check(file: Path) -> None:
    """Report all errors of a policy file, or print one line if there are none.

    Example: hkall-gateway policy check policy.toml
    """
    from hkall_gateway.config import policy as policy_file
    from hkall_gateway.config.loading import ConfigErrors

    try:
        found = policy_file.load(file)
    except ConfigErrors as error:
        raise CliError(str(error), WRONG) from None
    echo(f"{file}: no errors; {len(found.categories)} categories")


@click.command("hash-secret")
@click.option("--new", is_flag=True, help="Make a random secret and print it before its hash.")
def hash_secret(*, new: bool) -> None:
    """Read a password and print its hash for the configuration.

    The hash is for `secret_hash` of a terminal or a member of staff, or `basic_hash` or `bearer_hash` of a client or partner.
    On a terminal the password is asked for twice; otherwise it is the first line of standard input.

    \b
    Example: hkall-gateway hash-secret --new
    Example: pass show hkall/counter-1 | hkall-gateway hash-secret
    """  # noqa: D301  # click interprets \b
    from hkall_gateway.net.secrets import hash_secret as hashed

    text = token_urlsafe(32) if new else _read_password()
    if new:
        echo(text)
    echo(hashed(text))


def _read_password() -> str:
    """Return the password, typed twice on a terminal, else the first line of standard input. Raise CliError if it is empty."""
    if sys.stdin.isatty():
        return str(click.prompt("Password", hide_input=True, confirmation_prompt="Again", err=True))
    text = sys.stdin.readline().rstrip("\r\n")
    if not text:
        raise CliError("standard input has no password on its first line", WRONG)
    return text
