"""purge: anonymise and archive old ended requests, as the nightly round of the same name does."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hkall_gateway.circulation.command import Library, in_context
from hkall_gateway.cli.options import WRONG, CliError, Site, by_staff, confirm, json_option, with_site
from hkall_gateway.cli.show import echo, show
from hkall_gateway.rules.settings import Retention

if TYPE_CHECKING:
    from hkall_gateway.db.rounds import RoundState

ROUND = "purge"


@click.command()
@click.option("--dry-run", is_flag=True, help="Show how many requests it would be, without changing them.")
@click.option(
    "--older-than", type=click.IntRange(1, 36_500), help="Days since the requests ended; the default is the policy's."
)
@click.option(
    "--archive", type=click.Path(path_type=Path, dir_okay=False), help="Move the requests into this file, *.jsonl.gz."
)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@with_site
@json_option
def purge(site: Site, dry_run: bool, older_than: int | None, archive: Path | None, yes: bool, as_json: bool) -> None:
    """Make ended requests anonymous after the policy's days; with --archive, move them out of the database.

    A request that is unpaid, claimed or has a message to send stays.
    Example: hkall-gateway purge --older-than 730 --archive 2015.jsonl.gz --yes
    """
    terms = _terms(site.library.policy.retention, older_than, archive)
    if dry_run:
        show(_would(site, terms), as_json)
        return
    confirm(_question(_would(site, terms)), yes)
    done = _do(site, replace(site.library, policy=replace(site.library.policy, retention=terms)))
    show([{"what": "purged", "count": done}], as_json)


def _question(would: Sequence[Mapping[str, object]]) -> str:
    counts = ", ".join(f"{row['what']} {row['requests']}" for row in would)
    return f"Ended requests: {counts or 'none'}. This cannot be undone. Go on?"


def _terms(policy: Retention, older_than: int | None, archive: Path | None) -> Retention:
    """Return the retention periods of the policy, overridden by the options."""
    if archive is None:
        return replace(policy, anonymise_days=older_than, archive_days=0) if older_than else policy
    days = older_than or policy.archive_days
    if not days:
        raise CliError("--archive needs --older-than, or retention.archive_days in the policy", WRONG)
    return replace(policy, archive_days=days, archive_file=str(archive))


def _would(site: Site, terms: Retention) -> list[dict[str, object]]:
    """How many requests each of the two would take now, and how many it would leave for their money or messages."""

    from hkall_gateway.circulation.retention import last_instant
    from hkall_gateway.db.privacy import retention as kept

    wanted = (("anonymise", terms.anonymise_days, "personal"), ("archive", terms.archive_days, "closed"))
    rows: list[dict[str, object]] = []
    for what, days, which in wanted:
        if days:
            found = site.run(kept.counts, last_instant(site.now(), days))
            rows.append({"what": what, "days": days, "requests": found[which], "held": found["held"]})
    return rows


def _do(site: Site, library: Library) -> int:
    """The round, batch by batch, each a short transaction beside a running daemon; how many it did."""

    from hkall_gateway.circulation.rounds import BATCH, begin, one_batch
    from hkall_gateway.db.privacy.archive import NotAnArchive

    who = f"cli {by_staff(ROUND).who}"
    going: RoundState | None = site.run(begin, ROUND, who, site.now(), False)
    if going is None:
        raise CliError("a gateway is purging at this moment")
    count = 0
    try:
        while going is not None:
            going, count = site.run(in_context, one_batch, library, site.now(), going, who, BATCH)
            if sys.stderr.isatty():
                echo(f"{count:,} done", err=True)
    except (NotAnArchive, OSError) as error:
        raise CliError(f"{error}\nno row of this batch was deleted") from None
    return count
