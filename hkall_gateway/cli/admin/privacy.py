"""Commands purge, patron export and patron erase: retention, data access and erasure (Hong Kong's PDPO)."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from hkall_gateway.circulation.command import Library, in_context
from hkall_gateway.cli.options import WRONG, CliError, Site, by_staff, confirm, json_option
from hkall_gateway.cli.show import echo, echo_json, show
from hkall_gateway.cli.with_site import with_site
from hkall_gateway.db import bind
from hkall_gateway.rules.settings import Retention

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hkall_gateway.db.privacy.forgetting import RemainingRow
    from hkall_gateway.db.privacy.person_file import Erasure, Records
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
    """Make ended requests anonymous after the policy's retention period; with --archive, move them out of the database.

    Requests with unpaid charges, claims or unsent messages stay.

    Example: hkall-gateway purge --older-than 730 --archive 2015.jsonl.gz --yes
    """
    terms = _retention_terms(site.library.policy.retention, older_than, archive)
    if dry_run:
        show(_preview_purge(site, terms), as_json)
        return
    counts = ", ".join(f"{row['what']} {row['requests']}" for row in _preview_purge(site, terms))
    confirm(f"Ended requests: {counts or 'none'}. This cannot be undone. Go on?", yes)
    done = _purge_in_batches(site, replace(site.library, policy=replace(site.library.policy, retention=terms)))
    show([{"what": "purged", "count": done}], as_json)


def _retention_terms(policy: Retention, older_than: int | None, archive: Path | None) -> Retention:
    """Return the retention periods of the policy, overridden by the options."""
    if archive is None:
        return replace(policy, anonymise_days=older_than, archive_days=0) if older_than else policy
    days = older_than or policy.archive_days
    if not days:
        raise CliError("--archive needs --older-than, or retention.archive_days in the policy", WRONG)
    return replace(policy, archive_days=days, archive_file=str(archive))


def _preview_purge(site: Site, terms: Retention) -> list[dict[str, object]]:
    """Count the requests that each step would purge now, and the requests that charges or unsent messages would keep."""
    from hkall_gateway.circulation.jobs.retention import count_ended

    wanted = (("anonymise", terms.anonymise_days, "personal"), ("archive", terms.archive_days, "closed"))
    rows: list[dict[str, object]] = []
    for what, days, which in wanted:
        if days:
            found = site.execute(count_ended(days))
            rows.append({"what": what, "days": days, "requests": found[which], "held": found["held"]})
    return rows


def _purge_in_batches(site: Site, library: Library) -> int:
    """Purge requests in short transactions, since a gateway may be running. Return the number of purged requests."""
    from hkall_gateway.circulation.jobs.rounds import BATCH, CLAIM, ONE_BATCH, begin, one_batch
    from hkall_gateway.db.privacy.archive import NotAnArchive

    who = f"cli {by_staff(ROUND).who}"
    going: RoundState | None = site.store.write_now(bind(begin, ROUND, who, site.now(), False), CLAIM)
    if going is None:
        raise CliError("a gateway is purging at this moment")
    count = 0
    try:
        while going is not None:
            batch = in_context(one_batch, library, site.now(), going, who, BATCH)
            going, count = site.store.write_now(batch, ONE_BATCH)
            if sys.stderr.isatty():
                echo(f"{count:,} done", err=True)
    except (NotAnArchive, OSError) as error:
        raise CliError(f"{error}\nno row of this batch was deleted") from None
    return count


SMALL: Final = 256 << 20
"""Largest SQLite file, in bytes, that is rewritten unless --no-vacuum is given. Terminals wait for seconds meanwhile."""
COLUMNS: Final = ("what", "which", "state", "count", "why", "then")

_FORMER = click.option(
    "--former", multiple=True, metavar="CARD", help="An earlier card of the same person that no load named; may be repeated."
)
_ARCHIVES = click.option(
    "--archive", "archives", multiple=True, type=click.Path(path_type=Path), help="A further archive; may be repeated."
)


@click.group()
def patron() -> None:
    """Export or erase the data of one person.

    Example: hkall-gateway patron export P0001
    """


@patron.command()
@click.argument("card")
@_FORMER
@_ARCHIVES
@with_site
def export(site: Site, card: str, former: Sequence[str], archives: Sequence[Path]) -> None:
    """Print all data of the person with this CARD, from every table and archive, as one JSON object.

    Example: hkall-gateway patron export P0001 > p0001.json
    """
    from hkall_gateway.db.privacy import person_file

    with _end_when_refused():
        facts = person_file.export(_open_records(site), card, site.now(), former, archives)
    echo_json(facts)


@patron.command()
@click.argument("card")
@click.option("--reason", required=True, help="Why, for the journal; without the person's name.")
@_FORMER
@_ARCHIVES
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--vacuum/--no-vacuum", default=None, help="Rewrite the SQLite file; by default if it is below 256 MB.")
@with_site
@json_option
def erase(
    site: Site,
    card: str,
    reason: str,
    former: Sequence[str],
    archives: Sequence[Path],
    yes: bool,
    vacuum: bool | None,
    as_json: bool,
) -> None:
    """Erase the person with this CARD; open matters stay and are listed with the command that settles each.

    Example: hkall-gateway patron erase P0001 --reason "asked on 3 March" --yes
    """
    from hkall_gateway.db.privacy import person_file

    records = _open_records(site)
    with _end_when_refused():
        who, found = person_file.find(records, card, former, archives)
    confirm(f"{len(found)} rows name this person. Erase what is not open?", yes)
    with _end_when_refused():
        done = person_file.erase(records, who, found, reason, site.now(), by_staff("erase"), archives)
    show(_erasure_rows(done, _rewrite_file(site.engine, vacuum)), as_json, COLUMNS)


def _open_records(site: Site) -> Records:
    from hkall_gateway.db.privacy.person_file import Records

    archive = site.library.policy.retention.archive_file
    return Records(
        read=site.store.read_now,
        write=site.store.write_now,
        archive_file=archive,
        erased_file=site.erased_file,
        erased_key=site.erased_key,
    )


@contextmanager
def _end_when_refused() -> Iterator[None]:
    """Convert NotDone into CliError."""
    from hkall_gateway.db.privacy.person_file import NotDone

    try:
        yield
    except NotDone as refused:
        raise CliError(str(refused), *([WRONG] if refused.wrong else [])) from None


def _rewrite_file(engine: Engine | None, wanted: bool | None) -> Iterator[RemainingRow]:
    """Rewrite the SQLite file without the remains of deleted rows. If it is not rewritten now, yield a row that says so."""
    from sqlalchemy.exc import OperationalError

    from hkall_gateway.db.privacy import forgetting
    from hkall_gateway.db.privacy.forgetting import RemainingRow

    file = forgetting.file_of(engine) if engine else None
    if engine is None or file is None:
        return
    if file.stat().st_size < SMALL if wanted is None else wanted:
        with suppress(OperationalError):  # another process held the write lock for longer than we wait
            if forgetting.vacuum(engine):
                return
    then = "hkall-gateway db vacuum, in a quiet hour"
    yield RemainingRow(what="file", which=str(file), why="its free space may hold older copies of rows", then=then)


def _erasure_rows(done: Erasure, file: Iterable[RemainingRow]) -> Iterator[dict[str, object]]:
    from hkall_gateway.db.privacy.forgetting import RemainingRow

    archives = [("archive", str(archive), count) for archive, count in done.archived.items()]
    for what, which, count in (("requests", "", done.tables.requests), ("rows", "", done.tables.rows), *archives):
        yield {"what": what, "which": which, "state": "forgotten", "count": count, "why": "", "then": ""}
    stays = [*done.stays[len(done.tables.stays) :], *file, *done.tables.stays]
    if done.who.shared:
        why = "another patron has the same name or address"
        stays.append(RemainingRow(what="texts", which="", why=why, then="look through patron export of both"))
    yield from ({**asdict(one), "state": "stays", "count": 1} for one in stays)
