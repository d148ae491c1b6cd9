"""`python -m demo run|demo`: the commands behind `make run` and `make demo`."""

from __future__ import annotations

import os
from pathlib import Path

import click
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

from demo import demo_setup, history
from demo.demo_ports import Ports, why_not
from demo.demo_script import DemoPeers, play
from demo.pages import PATH
from hkall_gateway.app import process
from hkall_gateway.clock import now

FOLDER = Path("var/demo")
SHIPS_AFTER_S = 5.0


@click.group()
def main() -> None:
    """Run the demo world on this machine."""


@main.command()
@click.option("--folder", type=click.Path(path_type=Path), default=FOLDER, show_default=True)
@click.option("--shift", type=int, default=0, show_default=True, help="Add this to every port.")
def run(folder: Path, shift: int) -> None:
    """Serve a gateway with the demo world in the foreground, with three partners that ship by themselves.

    The first start gives it the past of a library, which ends today. Its URLs are printed once it runs.
    """
    try:
        ports = Ports().shifted(shift)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if why := why_not(ports):
        raise click.ClickException(why)
    os.environ.update(demo_setup.environment(ports))
    path, mail = demo_setup.write_config(folder, ports, pages=True, partner_pages=True), folder / "mail"
    if (database := folder / "hkall.db").exists():
        demo_setup.upgrade(path, environ=os.environ)
    else:
        click.echo(f"writing eighteen months of history into {folder} …")
        history.begin(database, mail, now())
        demo_setup.fill_catalogue(path, environ=os.environ)
    known = demo_setup.write_environment(path, ports)
    raise SystemExit(
        process.serve(
            path,
            beside=lambda reactor: DemoPeers(reactor, ports, ships_after_s=SHIPS_AFTER_S, mail=mail),
            started=lambda: click.echo(addresses(ports, known)),
        )
    )


def addresses(ports: Ports, known: Path) -> str:
    """Return the demo's URLs and logins, formatted for people."""
    here = "http://127.0.0.1"
    *logins, last = (row["login"] for row in demo_setup.STAFF)
    rows = (
        ("patrons' pages", f"{here}:{ports.web}/", "patron P0001, PIN 1234"),
        ("staff console", f"{here}:{ports.web}/staff/", f"login {', '.join(logins)} or {last}, password {demo_setup.PASSWORD}"),
        ("letters", f"{here}:{ports.mail}{PATH}", "what the gateway has sent"),
        ("help", f"{here}:{ports.web}/help", "the rules, in English and Chinese"),
        ("health", f"{here}:{ports.ops}/readyz", ""),
        ("metrics", f"{here}:{ports.ops}/metrics", ""),
        ("NCIP", f"{here}:{ports.ncip}/ncip", f"client {demo_setup.DISCOVERY}, secret {demo_setup.PASSWORD}"),
        ("SIP2", f"127.0.0.1:{ports.sip2}", f"terminal counter-1, password {demo_setup.PASSWORD}"),
    )
    table = "\n".join(f"  {name:<15}{address:<33}{about}".rstrip() for name, address, about in rows)
    return f"\nThe gateway runs; Ctrl-C ends it.\n\n{table}\n\n  in another shell: . {known}\n"


@main.command()
def demo() -> None:
    """Play the loan of one book from the request to the end, and print every message on the wire."""
    react(lambda reactor: ensureDeferred(play(reactor)))


if __name__ == "__main__":
    main()
