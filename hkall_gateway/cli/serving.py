"""serve, check-config, hash-secret."""

from __future__ import annotations

from pathlib import Path
from secrets import token_urlsafe

import click

from hkall_gateway import process
from hkall_gateway.cli.site import config_option, load_config, open_database
from hkall_gateway.config.notes import notes
from hkall_gateway.edge import secrets


@click.command()
@config_option
def serve(config: Path) -> None:
    """Run the daemon in the foreground, with JSON lines on standard output.

    SIGTERM finishes what is in hand and leaves; SIGHUP reads the configuration again.
    Example: hkall-gateway serve --config /etc/hkall/gateway.toml
    """
    open_database(config).dispose()
    raise SystemExit(process.serve(config))


@click.command("check-config")
@config_option
def check_config(config: Path) -> None:
    """Name every error of the configuration and of the policy file at once.

    Notes say what people would stumble over and what the site has still to decide; they are no errors.
    Example: hkall-gateway check-config --config gateway.toml
    """
    found, house = load_config(config)
    click.echo(f"{config}: no errors; {len(found.partners)} partners, {len(found.sip2.terminals)} terminals")
    for where, what in notes(found, house.policy):
        click.echo(f"note: {where}: {what}")


@click.command("hash-secret")
@click.option("--new", is_flag=True, help="Make a random secret and print it before its hash.")
def hash_secret(*, new: bool) -> None:
    """Read a password from the terminal and print the hash to put into the configuration: a terminal's `secret_hash`,
    a client's or partner's `basic_hash` or `bearer_hash`.

    Example: hkall-gateway hash-secret --new
    """
    text = token_urlsafe(32) if new else click.prompt("Password", hide_input=True, confirmation_prompt="Again", err=True)
    if new:
        click.echo(text)
    click.echo(secrets.hash_secret(text))
