"""patron export, patron erase: all that is known of one person, and forgetting it (Hong Kong's PDPO: access, erasure)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hkall_gateway.cli.options import WRONG, CliError, Site, by_staff, confirm, json_option, with_site
from hkall_gateway.cli.show import echo_json, show

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hkall_gateway.db.privacy.forgetting import RemainingRow
    from hkall_gateway.db.privacy.person_file import Erasure, Records

SMALL: Final = 256 << 20
"""Largest file, in bytes, that is rewritten without being asked: it takes seconds, and terminals wait meanwhile."""
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

    with _ended():
        told = person_file.export(_records(site), card, site.now(), former, archives)
    echo_json(told)


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

    records = _records(site)
    with _ended():
        who, found = person_file.find(records, card, former, archives)
    confirm(f"{len(found)} rows name this person. Erase what is not open?", yes)
    with _ended():
        done = person_file.erase(records, who, found, reason, site.now(), by_staff("erase"), archives)
    show(_rows(done, _written_anew(site.engine, vacuum)), as_json, COLUMNS)


def _records(site: Site) -> Records:
    from hkall_gateway.db.privacy.person_file import Records

    archive = site.library.policy.retention.archive_file
    return Records(site.read, site.run, archive, site.erased_file, site.erased_key)


@contextmanager
def _ended() -> Iterator[None]:
    """Turn NotDone into the end of the command."""
    from hkall_gateway.db.privacy.person_file import NotDone

    try:
        yield
    except NotDone as no:
        raise CliError(str(no), *([WRONG] if no.wrong else [])) from None


def _written_anew(engine: Engine | None, wanted: bool | None) -> Iterator[dict[str, Any]]:
    """The SQLite file, without what deleted rows left in its free space."""

    from hkall_gateway.db.privacy import forgetting
    from hkall_gateway.db.privacy.forgetting import RemainingRow

    file = forgetting.file_of(engine) if engine else None
    if engine is None or file is None:
        return
    small = file.stat().st_size < SMALL
    if (small if wanted is None else wanted) and _vacuumed(engine):
        return
    then = "hkall-gateway db vacuum, in a quiet hour"
    yield _stays(RemainingRow("file", str(file), "its free space may hold older copies of rows", then))


def _vacuumed(engine: Engine) -> bool:
    from sqlalchemy.exc import OperationalError

    from hkall_gateway.db.privacy import forgetting

    try:
        return forgetting.vacuum(engine)
    except OperationalError:  # another process has written for longer than we wait
        return False


def _rows(done: Erasure, files: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from hkall_gateway.db.privacy.forgetting import RemainingRow

    yield _forgot("requests", done.tables.requests)
    yield _forgot("rows", done.tables.rows)
    yield from (_forgot("archive", count, str(file)) for file, count in done.archived.items())
    yield from map(_stays, done.stays[len(done.tables.stays) :])
    yield from files
    yield from map(_stays, done.tables.stays)
    if done.who.shared:
        why = "another patron has the same name or address"
        yield _stays(RemainingRow("texts", "", why, "look through patron export of both"))


def _forgot(what: str, count: int, which: str = "") -> dict[str, Any]:
    return {"what": what, "which": which, "state": "forgotten", "count": count, "why": "", "then": ""}


def _stays(one: RemainingRow) -> dict[str, Any]:
    return {**asdict(one), "state": "stays", "count": 1}
