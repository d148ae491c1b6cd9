"""The command `doctor`: check whether everything is ready to go live, with a remedy for each failure."""

from __future__ import annotations

from pathlib import Path

import click

from hkall_gateway.cli.options import config_option, json_option

EXAMPLE = """
\b
Example: hkall-gateway doctor
\b
More:
  hkall-gateway doctor CUHK
  hkall-gateway doctor ils --json
  hkall-gateway doctor smtp --to someone@lib.example.edu.hk
"""


@click.command(epilog=EXAMPLE)
@click.argument("who", required=False)
@click.option("--to", default="", help="smtp: the recipient to try, without a letter; the default is our own address.")
@click.option("--record", is_flag=True, help="Print one line, and record the result for the metrics: for a timer.")
@config_option
@json_option
def doctor(who: str | None, to: str, record: bool, config: Path, as_json: bool) -> None:
    """Check whether everything is ready to go live, and name the remedy for each failed check.

    WHO is the AgencyId of a partner or client, `ils`, `smtp` or `gateway`; the default is to check all in parallel, in ten
    seconds. The checks change no data anywhere: they send only look-ups, and no letter. The gateway may be running.
    Exit code 1: a check failed; warnings do not count. docs/doctor.md lists all checks.
    """
    from hkall_gateway.cli.doctor import examination

    if record and (who or as_json):
        raise click.UsageError("--record is for all checks together, and prints no JSON")
    examination.doctor(who, to, config, record=record, as_json=as_json)
