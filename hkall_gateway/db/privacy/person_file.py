"""Export or erase all data about one person in tables and archives (Hong Kong's PDPO: access, erasure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from hkall_gateway.db import bind
from hkall_gateway.db.engine.locks import LockSet, unlocked
from hkall_gateway.db.privacy import erased, forgetting, persons, retention
from hkall_gateway.db.privacy.archive import NotAnArchive
from hkall_gateway.db.privacy.forgetting import ErasureResult, Found, RemainingRow
from hkall_gateway.db.privacy.persons import DOT, Person, Row
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor

T = TypeVar("T")


class Read(Protocol):
    """Runs a query in a snapshot, and returns its result."""

    def __call__(self, query: Callable[[UnitOfWork], T], /) -> T: ...  # noqa: D102


class Write(Protocol):
    """Runs a unit of work in its own transaction under its locks, and returns its result."""

    def __call__(self, work: Callable[[UnitOfWork], T], locks: LockSet, /) -> T: ...  # noqa: D102


class NotDone(Exception):
    """An export or erasure was refused. The message has the reason. `wrong` means that the arguments were invalid."""

    def __init__(self, words: str, *, wrong: bool = False) -> None:
        super().__init__(words)
        self.wrong = wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Access to a site's records: the database through `read` and `write`, and the archives.

    Attributes:
        archive_file: The archive file named in the policy.
        erased_file: File with the marks of erased patrons, or None if only the database has the marks.
        erased_key: Key with which the marks are made.
    """

    read: Read
    write: Write
    archive_file: str
    erased_file: Path | None = None
    erased_key: bytes = b""

    def archives(self, further: Sequence[Path] = ()) -> list[Path]:
        """Return the archives named in the database and in `further`, and the policy's archive if that file exists."""
        found = [Path(name) for name in self.read(retention.archives)]
        found += [Path(self.archive_file)] if self.archive_file and Path(self.archive_file).exists() else []
        return list(dict.fromkeys(file.absolute() for file in (*found, *further)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """The result of an erasure: counts for the tables, changed records by archive, and the archives that are missing here."""

    who: Person
    tables: ErasureResult
    archived: Counter[Path]
    missing: tuple[Path, ...]

    @property
    def stays(self) -> tuple[RemainingRow, ...]:
        """The rows and archives that still name the person, each with the action that removes it."""
        missing = [
            RemainingRow(
                what="archive", which=str(file), why="it is not here", then="run this again with --archive FILE where it is"
            )
            for file in self.missing
        ]
        return (*self.tables.stays, *missing)


def named(site: Records, card: str, former: Sequence[str] = ()) -> Person:
    """Return the person with these cards. Raises NotDone for an empty card number, as from an unset shell variable."""
    if not all(one.strip() for one in (card, *former)):
        raise NotDone("a card number is empty", wrong=True)
    return site.read(bind(persons.person, card, former))


def export(
    site: Records, card: str, now: datetime, former: Sequence[str] = (), further: Sequence[Path] = ()
) -> dict[str, object]:
    """Return everything that the tables and archives contain about the person with this card. Raises NotDone."""
    who, files = named(site, card, former), site.archives(further)
    _require_known(site, (card, *former), files)
    here = [file for file in files if file.exists()]
    records = {str(file): _read_archive(partial(forgetting.in_archive, file, who)) for file in here}
    missing = [str(file) for file in files if not file.exists()]
    return {
        "cards": who.cards,
        "exported_at": now,
        "tables": site.read(bind(_export_rows, who)),
        "archives": records,
        "not_read": missing,
    }


def _export_rows(unit: UnitOfWork, who: Person) -> dict[str, list[Row]]:
    """Return the rows about a person by table, without the hash of the PIN."""
    found: dict[str, list[Row]] = {}
    for table, row in persons.rows_about(unit, who):
        hidden = {"pin_hash": DOT} if row.get("pin_hash") else {}
        found.setdefault(table.name, []).append(row | hidden)
    return found


def find(site: Records, card: str, former: Sequence[str] = (), further: Sequence[Path] = ()) -> tuple[Person, Sequence[Found]]:
    """Return the person with this card, and the rows to erase. Raises NotDone."""
    who = named(site, card, former)
    for one in who.cards:
        partner = site.read(lambda unit: unit.partners.with_card(one))  # noqa: B023  # the lambda runs at once
        if partner is not None:
            raise NotDone(f"{one} stands for {partner.agency} at our counter and for no person")
    _require_known(site, (card, *former), site.archives(further))
    return who, site.read(bind(forgetting.find, who))


def erase(
    site: Records, who: Person, found: Sequence[Found], reason: str, now: datetime, by: Actor, further: Sequence[Path] = ()
) -> Erasure:
    """Erase a person from the tables and archives, except from open requests. Raises NotDone."""
    # Store the marks before the erasure, so that after a crash no restore brings the person back.
    known = site.read(erased.stored_marks)
    if site.erased_file is None:
        marks = erased.make_marks(who.cards, known, site.erased_key, now)
    else:
        try:
            known = erased.merge_marks(known, erased.read_file(site.erased_file))
            marks = erased.add_to_file(site.erased_file, [*known, *erased.make_marks(who.cards, known, site.erased_key, now)])
        except (OSError, ValueError) as error:
            raise NotDone(f"{error}\nnothing was erased ([privacy] erased_file)") from None
    archived = _erase_from_archives(site, further, who)  # first, because a retry reads the names from the tables
    locks = unlocked("`forget` locks the archives and the cards of the person, in the order of all units")
    done = site.write(bind(forgetting.forget, who, found, marks, reason, now, by), locks)
    if late := site.read(bind(forgetting.find, who, found)):  # erase rows that were written before the cards were locked
        done = done.and_then(site.write(bind(forgetting.forget, who, late, (), reason, now, by), locks))
    archived += _erase_from_archives(site, further, who)  # again, for rows that a concurrent purge has archived
    return Erasure(
        who=who, tables=done, archived=archived, missing=tuple(file for file in site.archives(further) if not file.exists())
    )


def _require_known(site: Records, cards: Sequence[str], files: Sequence[Path]) -> None:
    """Raise NotDone for an unknown card, because a mistyped card "2017" would match every text with that year."""
    here = [file for file in files if file.exists()]
    unknown = [card for card in cards if not site.read(bind(persons.is_known, card))]
    for file in here if unknown else ():
        there = _read_archive(lambda: {*forgetting.cards_in_archive(file)})  # noqa: B023  # the lambda runs at once
        unknown = [card for card in unknown if card not in there]
    if unknown:
        away = "".join(f"; {file} is not here and was not read" for file in files if file not in here)
        raise NotDone(f"{', '.join(unknown)}: no table and no archive knows this card; nothing was done{away}")


def _erase_from_archives(site: Records, further: Sequence[Path], who: Person) -> Counter[Path]:
    """Remove the person from all existing archives, and return the number of changed records by archive."""
    files = [file for file in site.archives(further) if file.exists()]
    return Counter({file: _read_archive(partial(forgetting.forget_in_archive, file, who)) for file in files})


def _read_archive(work: Callable[[], T]) -> T:
    """Return the result of `work` on an archive. Raises NotDone if the archive cannot be read or written."""
    try:
        return work()
    except (NotAnArchive, OSError) as error:
        raise NotDone(str(error)) from None
