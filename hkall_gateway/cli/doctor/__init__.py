"""The command `doctor`: check whether everything is ready to go live, with a remedy for each failure."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hkall_gateway.cli.options import config_option, json_option
from hkall_gateway.rules.vocabulary import Sensitive

EXAMPLE = """
\b
Example: hkall-gateway doctor
\b
More:
  hkall-gateway doctor CUHK
  hkall-gateway doctor ils --json
  hkall-gateway doctor ils --patron 21234 --pin-env PIN --item 30001
  hkall-gateway doctor smtp --to someone@lib.example.edu.hk
"""


@click.command(epilog=EXAMPLE)
@click.argument("who", required=False)
@click.option("--to", default="", help="smtp: the recipient to try, without a letter; the default is our own address.")
@click.option("--patron", default="", help="ils: the card of a reader made for tests, whom the interview looks up.")
@click.option("--pin-env", default="", help="ils: the environment variable with the PIN of that reader.")
@click.option("--item", default="", help="ils: the barcode of a copy on the shelf, which the interview looks up.")
@click.option("--record", is_flag=True, help="Print one line, and record the result for the metrics: for a timer.")
@config_option
@json_option
def doctor(who: str | None, to: str, patron: str, pin_env: str, item: str, record: bool, config: Path, as_json: bool) -> None:
    """Check whether everything is ready to go live, and name the remedy for each failed check.

    WHO is the AgencyId of a partner or client, `ils`, `smtp` or `gateway`; the default is to check all in parallel, in ten
    seconds, and to interview the library's own system afterwards. The checks change no data anywhere: they send only look-ups,
    and no letter. The gateway may be running.
    Exit code 1: a check failed; warnings do not count. docs/doctor.md lists all checks.
    """
    from hkall_gateway.cli.doctor import examination
    from hkall_gateway.cli.doctor.findings import Interview
    from hkall_gateway.cli.doctor.interview import find_program

    if record and (who or as_json):
        raise click.UsageError("--record is for all checks together, and prints no JSON")
    if pin_env and pin_env not in os.environ:
        raise click.UsageError(f"the environment variable {pin_env} is not set")
    # The timer's runs need no advice about keys, and put no further questions to the system every night.
    interview = None
    if not record:
        pin = Sensitive(os.environ.get(pin_env, ""))
        interview = Interview(program=find_program(), card=patron, pin=pin, copy=item)
    examination.doctor(who, to, config, interview, record=record, as_json=as_json)
