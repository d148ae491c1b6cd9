"""Commands check-config, policy check and hash-secret: prepare the configuration and the policy file for a start."""

from __future__ import annotations

import sys
from pathlib import Path
from secrets import token_urlsafe

import click

from hkall_gateway.cli.options import WRONG, CliError, config_option
from hkall_gateway.cli.show import echo


@click.command("check-config")
@click.option("--keys", is_flag=True, help="Show the keys of [ils] too, with those of an installed adapter.")
@config_option
def check_config(config: Path, keys: bool) -> None:
    """Report all errors of the configuration and the policy file, and whatever would stop `serve` on this machine.

    Run it as the gateway's user. Notes name pitfalls, and decisions and steps that the site still has to take.
    Example: hkall-gateway check-config --config gateway.toml
    """
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
