"""The command `hkall-gateway`: one file a family of commands, put together here."""

from __future__ import annotations

import click

from hkall_gateway import __version__
from hkall_gateway.cli import lists
from hkall_gateway.cli.backup import backup, restore
from hkall_gateway.cli.bench import bench
from hkall_gateway.cli.bounce import bounce
from hkall_gateway.cli.byhand import request
from hkall_gateway.cli.closures import closures
from hkall_gateway.cli.database import db
from hkall_gateway.cli.doctor import doctor
from hkall_gateway.cli.explain import explain
from hkall_gateway.cli.loading import load
from hkall_gateway.cli.money import fines
from hkall_gateway.cli.ncip import ncip
from hkall_gateway.cli.outbox import outbox
from hkall_gateway.cli.partners import partners
from hkall_gateway.cli.patron import patron
from hkall_gateway.cli.policy import policy
from hkall_gateway.cli.purge import purge
from hkall_gateway.cli.quarantine import quarantine
from hkall_gateway.cli.reconcile import reconcile
from hkall_gateway.cli.requests import requests
from hkall_gateway.cli.scenarios import replay
from hkall_gateway.cli.serving import check_config, hash_secret, serve
from hkall_gateway.cli.simulate import simulate
from hkall_gateway.cli.slips import slips
from hkall_gateway.cli.status import status
from hkall_gateway.cli.terminal import sip2


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="hkall-gateway")
def main() -> None:
    """A gateway between partner libraries (NCIP), terminals (SIP2) and the library's own system.

    Example: hkall-gateway serve --config gateway.toml
    """


for command in (
    serve,
    check_config,
    doctor,
    hash_secret,
    db,
    load,
    closures,
    status,
    requests,
    outbox,
    partners,
    quarantine,
    reconcile,
    explain,
    replay,
    simulate,
    bench,
    sip2,
    ncip,
    request,
    fines,
    policy,
    purge,
    patron,
    backup,
    restore,
    *lists.COMMANDS,
    slips,
    lists.notices,
    bounce,
):
    main.add_command(command)
