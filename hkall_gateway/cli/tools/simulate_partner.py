"""simulate-partner: one configured partner and a mailbox on this machine, to rehearse before going live."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hkall_gateway.cli.options import REFUSED, WRONG, CliError, config_option
from hkall_gateway.cli.show import echo

if TYPE_CHECKING:
    from hkall_gateway.config.gateway import GatewayConfig

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
