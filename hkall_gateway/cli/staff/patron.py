"""patron export, patron erase: all that is known of one person, and forgetting it (Hong Kong's PDPO: access, erasure)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hkall_gateway.cli.options import WRONG, Ending, Site, by_staff, confirm, json_option, with_site
from hkall_gateway.cli.show import plain, show

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from hkall_gateway.store.privacy.erased import Mark
    from hkall_gateway.store.privacy.forgetting import ErasureResult, Found, RemainingRow
    from hkall_gateway.store.privacy.persons import Person, Row
    from hkall_gateway.store.unit import Unit

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
    who = _named(site, card, former)
    files = _archives(site, archives)
    _require_known(site, (card, *former), files)
    tables, records = site.look(_rows, who), _in_archives(who, files)
    missing = [str(file) for file in files if not file.exists()]
    told = {"cards": who.cards, "exported_at": site.now(), "tables": tables, "archives": records, "not_read": missing}
    click.echo(json.dumps(told, default=plain, ensure_ascii=False, indent=1))


def _rows(unit: Unit, who: Person) -> dict[str, list[Row]]:
    """Rows by table; a hash of a PIN is a secret, not a fact."""

    from hkall_gateway.store.privacy import persons
    from hkall_gateway.store.privacy.persons import DOT

    found: dict[str, list[Row]] = {}
    for table, row in persons.about(unit, who):
        hidden = {"pin_hash": DOT} if row.get("pin_hash") else {}
        found.setdefault(table.name, []).append(row | hidden)
    return found


def _in_archives(who: Person, files: Sequence[Path]) -> dict[str, list[Row]]:
    from hkall_gateway.store.privacy import forgetting

    return {str(file): _reading(partial(forgetting.in_archive, file, who)) for file in files if file.exists()}


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

    from hkall_gateway.store.privacy import forgetting

    who = _person(site, card, former)
    _require_known(site, (card, *former), _archives(site, archives))
    found = site.look(forgetting.find, who)
    confirm(f"{len(found)} rows name this person. Erase what is not open?", yes)
    marks = _marked(site, who)
    archived = _from_archives(site, archives, who)  # first, while a second try would still know the names
    done = _from_tables(site, who, found, marks, reason)
    archived += _from_archives(site, archives, who)  # and what a purge has moved meanwhile
    files = [_archive_row(file, archived) for file in _archives(site, archives)]
    show(_told(who, done, [*files, *_written_anew(site.engine, vacuum)]), as_json, COLUMNS)


def _named(site: Site, card: str, former: Sequence[str]) -> Person:
    """Return the person with these cards. Ending for an empty one, such as an unset shell variable, which unnamed rows have."""

    from hkall_gateway.store.privacy import persons

    if not all(one.strip() for one in (card, *former)):
        raise Ending("a card number is empty", WRONG)
    return site.look(persons.person, card, former)


def _person(site: Site, card: str, former: Sequence[str]) -> Person:
    from hkall_gateway.store.unit import Unit

    who = _named(site, card, former)
    for one in who.cards:
        partner = site.look(Unit.partner_with_card, one)
        if partner is not None:
            raise Ending(f"{one} stands for {partner.agency} at our counter and for no person")
    return who


def _require_known(site: Site, cards: Sequence[str], files: Sequence[Path]) -> None:
    """Exit 1 for a card that stands in no column of cards: a mistyped "2017" would be found in texts that mean the year."""

    from hkall_gateway.store.privacy import persons

    here = [file for file in files if file.exists()]
    unknown = [card for card in cards if not site.look(persons.is_known, card)]
    for file in here if unknown else ():
        there = _reading(partial(_among, unknown, file))
        unknown = [card for card in unknown if card not in there]
    if unknown:
        away = "".join(f"; {file} is not here and was not read" for file in files if file not in here)
        raise Ending(f"{', '.join(unknown)}: no table and no archive knows this card; nothing was done{away}")


def _among(cards: Sequence[str], file: Path) -> set[str]:
    from hkall_gateway.store.privacy import forgetting

    return set(cards).intersection(forgetting.cards_in_archive(file))


def _marked(site: Site, who: Person) -> Sequence[Mark]:
    """Marks of the person's cards, on disk before anything is erased: else a restore could bring back what a crash left out."""

    from hkall_gateway.store.privacy import erased

    known = site.look(erased.kept)
    if site.erased_file is None:
        return erased.made(who.cards, known, site.erased_key, site.now())
    try:
        known = erased.merged(known, erased.read(site.erased_file))
        return erased.add(site.erased_file, [*known, *erased.made(who.cards, known, site.erased_key, site.now())])
    except (OSError, ValueError) as error:
        raise Ending(f"{error}\nnothing was erased ([privacy] erased_file)") from None


def _archives(site: Site, further: Sequence[Path]) -> list[Path]:
    """Every archive that the policy, the database or the command names; the policy's only once it has been written."""

    from hkall_gateway.store.privacy import retention

    policy = site.library.policy.retention.archive_file
    found = [Path(name) for name in site.look(retention.archives)]
    found += [Path(policy)] if policy and Path(policy).exists() else []
    return list(dict.fromkeys(file.absolute() for file in (*found, *further)))


def _from_tables(site: Site, who: Person, found: Sequence[Found], marks: Sequence[Mark], reason: str) -> ErasureResult:
    """Forget the rows that were found, and those that were written after the look and before the cards were locked."""

    from hkall_gateway.store.privacy import forgetting

    done = site.run(forgetting.forget, who, found, marks, reason, site.now(), by_staff("erase"))
    late = site.look(forgetting.find, who, found)
    return done.and_then(site.run(forgetting.forget, who, late, (), reason, site.now(), by_staff("erase"))) if late else done


def _from_archives(site: Site, further: Sequence[Path], who: Person) -> Counter[Path]:
    """How many records of each archive forgot the person, of those that are here."""

    from hkall_gateway.store.privacy import forgetting

    files = [file for file in _archives(site, further) if file.exists()]
    return Counter({file: _reading(partial(forgetting.forget_in_archive, file, who)) for file in files})


def _archive_row(file: Path, archived: Counter[Path]) -> dict[str, Any]:
    from hkall_gateway.store.privacy.forgetting import RemainingRow

    if not file.exists():
        return _stays(RemainingRow("archive", str(file), "it is not here", "run this again with --archive FILE where it is"))
    return _forgot("archive", archived[file], str(file))


def _reading(work: Callable[[], Any]) -> Any:
    from hkall_gateway.store.privacy.archive import NotAnArchive

    try:
        return work()
    except (NotAnArchive, OSError) as error:
        raise Ending(str(error)) from None


def _written_anew(engine: Engine | None, wanted: bool | None) -> Iterator[dict[str, Any]]:
    """The SQLite file, without what deleted rows left in its free space."""

    from hkall_gateway.store.privacy import leftovers
    from hkall_gateway.store.privacy.forgetting import RemainingRow

    file = leftovers.file_of(engine) if engine else None
    if engine is None or file is None:
        return
    small = file.stat().st_size < SMALL
    if (small if wanted is None else wanted) and _vacuumed(engine):
        return
    then = "hkall-gateway db vacuum, in a quiet hour"
    yield _stays(RemainingRow("file", str(file), "its free space may hold older copies of rows", then))


def _vacuumed(engine: Engine) -> bool:
    from sqlalchemy.exc import OperationalError

    from hkall_gateway.store.privacy import leftovers

    try:
        return leftovers.vacuum(engine)
    except OperationalError:  # another process has written for longer than we wait
        return False


def _told(who: Person, done: ErasureResult, files: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    from hkall_gateway.store.privacy.forgetting import RemainingRow

    yield _forgot("requests", done.requests)
    yield _forgot("rows", done.rows)
    yield from files
    yield from map(_stays, done.stays)
    if who.shared:
        why = "another patron has the same name or address"
        yield _stays(RemainingRow("texts", "", why, "look through patron export of both"))


def _forgot(what: str, count: int, which: str = "") -> dict[str, Any]:
    return {"what": what, "which": which, "state": "forgotten", "count": count, "why": "", "then": ""}


def _stays(one: RemainingRow) -> dict[str, Any]:
    return {**asdict(one), "state": "stays", "count": 1}
