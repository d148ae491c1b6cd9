"""`python -m hkall_gateway.lab run|demo`: the commands behind `make run` and `make demo`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import react

from hkall_gateway import process
from hkall_gateway.lab import demo_setup
from hkall_gateway.lab.demo_ports import Ports, why_not
from hkall_gateway.lab.demo_script import play
from hkall_gateway.lab.demo_site import DemoPeers

FOLDER = Path("var/demo")
SHIPS_AFTER_S = 5.0


@click.group()
def main() -> None:
    """Runs the demo world on this machine."""


@main.command()
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
@click.option("--shift", type=int, default=0, show_default=True, help="Add this to every port.")
def run(folder: Path, shift: int) -> None:
    """A gateway with the demo world, served in the foreground, with three partners that ship by themselves."""
    try:
        ports = Ports().shifted(shift)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if why := why_not(ports):
        raise click.ClickException(why)
    os.environ.update(demo_setup.environment(ports))
    click.echo(f"writing the configuration and filling the database in {folder} …")
    path = demo_setup.write_config(folder, ports, pages=True)
    demo_setup.fill_database(path, environ=os.environ)
    demo_setup.fill_catalogue(path, environ=os.environ)
    known = demo_setup.write_environment(path, ports)
    site = f"http://127.0.0.1:{ports.web}"
    click.echo(f"patrons' pages {site}/  patron P0001, PIN 1234")
    click.echo(f"staff console {site}/staff/  login {demo_setup.STAFF[0]['login']}, password {demo_setup.PASSWORD}")
    click.echo(
        f"SIP2 127.0.0.1:{ports.sip2}  NCIP http://127.0.0.1:{ports.ncip}/ncip  health http://127.0.0.1:{ports.ops}/healthz"
    )
    click.echo(f"terminal counter-1, password {demo_setup.PASSWORD}; in another shell: . {known}")
    raise SystemExit(process.serve(path, beside=lambda reactor: DemoPeers(reactor, ports, ships_after_s=SHIPS_AFTER_S)))


@main.command()
def demo() -> None:
    """Plays one borrowed book from the request to the end, with every line on the wire."""
    react(lambda reactor: _played(reactor))


def _played(reactor: Any) -> Deferred[None]:
    return ensureDeferred(play(reactor))


if __name__ == "__main__":
    main()
