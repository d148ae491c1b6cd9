"""Compare the files of the command `load` with what is loaded, and write their rows.

The rows are written in short transactions, under an import number that becomes current at the end.
whole_files.py sees that all rows of a file take effect, or none.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from itertools import islice
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Table, and_, bindparam, delete, func, or_, select, tuple_, update

from hkall_gateway.db import web_sessions
from hkall_gateway.db.engine.compiled import CompiledStatement, insert_or_write_over, write_over
from hkall_gateway.db.loads import catalogue, former_cards
from hkall_gateway.db.loads.catalogue import NO_TITLES
from hkall_gateway.db.tables import CLOSURES, HOLDINGS, JOBS, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.shelving import shelving_key
from hkall_gateway.rules.vocabulary import Actor, Borrower, Holding, Request, Sensitive, Side, Title


def add_closure(unit: UnitOfWork, agency: str, day: date, reason: str) -> None:
    """Store a closed day, or a new reason for a known closed day."""
    unit.execute(insert_or_write_over(CLOSURES, unit.dialect, ["reason"]).values(agency=agency, day=day, reason=reason))


H = HOLDINGS.c
Place = tuple[str, str]
KEYS_AT_ONCE: Final = 2_000
START: Final[Place] = ("", "")


def with_keys(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of `holdings` with their shelving keys."""
    return [{**row, "shelving_key": shelving_key(row["call_number"])} for row in rows]


def fill_keys(connection: Connection, after: Place = START, limit: int = KEYS_AT_ONCE) -> Place | None:
    """Write missing shelving keys of at most `limit` copies after `after`. Return the last copy, or None at the end."""
    found = connection.execute(_MISSING, {"agency": after[0], "barcode": after[1], "most": limit}).all()
    if not found:
        return None
    rows = [{"of": agency, "numbered": barcode, "key": shelving_key(number)} for agency, barcode, number in found]
    connection.execute(_FILL, rows)
    return found[-1][0], found[-1][1]


_MISSING = (
    select(H.agency, H.barcode, H.call_number)
    .where(tuple_(H.agency, H.barcode) > tuple_(bindparam("agency"), bindparam("barcode")))
    .where(H.shelving_key == "", H.call_number != "")
    .order_by(H.agency, H.barcode)
    .limit(bindparam("most"))
)
_FILL = (
    update(HOLDINGS)
    .where(H.agency == bindparam("of"), H.barcode == bindparam("numbered"))
    .values(shelving_key=bindparam("key"))
)


Placed = tuple[str, Holding]
"""A copy, preceded by its position in the file as "FILE:LINE"."""

_CACHE_KIB: Final = 64_000


class StagedCopies(Collection[Placed]):
    """Copies in a temporary SQLite database of this process, in the folder for temporary files. SQLite deletes the file."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.executescript(
            f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{_CACHE_KIB};"
            "CREATE TABLE copies (agency TEXT, barcode TEXT, place TEXT, bib_id TEXT, facts BLOB);"
            "CREATE UNIQUE INDEX ix_copies ON copies (agency, barcode); BEGIN"
        )
        self._count = 0

    def add(self, place: str, key: tuple[str, ...], copy: Holding | None) -> str:
        """Add a row of the file (None for a bad row). Return the position of an earlier row with the same key, or ""."""
        bib_id, facts = (copy.bib_id, orjson.dumps(copy)) if copy else ("", None)
        row = (*key, place, bib_id, facts)
        if self._connection.execute("INSERT OR IGNORE INTO copies VALUES (?, ?, ?, ?, ?)", row).rowcount:
            self._count += copy is not None
            return ""
        ((before,),) = self._connection.execute("SELECT place FROM copies WHERE agency = ? AND barcode = ?", key).fetchall()
        self._connection.execute("UPDATE copies SET place = ? WHERE agency = ? AND barcode = ?", (place, *key))
        return str(before)

    def find(self, agency: str, barcode: str) -> Holding | None:
        """Return the file's copy with this key, or None."""
        query = "SELECT facts FROM copies WHERE agency = ? AND barcode = ?"
        found = self._connection.execute(query, (agency, barcode)).fetchone()
        return _staged_copy(found[0]) if found and found[0] else None

    def chunks(self, size: int) -> Iterator[list[Holding]]:
        """Yield the copies in lists of at most `size`, sorted by title."""
        query = "SELECT facts FROM copies WHERE facts IS NOT NULL ORDER BY bib_id"
        with closing(self._connection.execute(query)) as cursor:
            while rows := cursor.fetchmany(size):
                yield [_staged_copy(facts) for (facts,) in rows]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Placed]:
        """Yield the copies in the order of the file."""
        query = "SELECT place, facts FROM copies WHERE facts IS NOT NULL ORDER BY rowid"
        for place, facts in self._connection.execute(query):
            yield place, _staged_copy(facts)

    def __contains__(self, placed: object) -> bool:
        return any(placed == one for one in self)


def _staged_copy(facts: bytes) -> Holding:
    return Holding(**orjson.loads(facts))


CHUNK: Final = 500
MOST_VANISHING: Final = 0.2
FEW_COPIES: Final = 10
"""Number of copies that a library may lose regardless of its size."""
NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FileKind:
    """One kind of file: its table, its record class, and the columns that identify a row."""

    table: Table
    record: type[Borrower] | type[Holding]
    key: tuple[str, ...]


KINDS: Final = {
    "patrons": FileKind(PATRONS, Borrower, ("barcode",)),
    "holdings": FileKind(HOLDINGS, Holding, ("agency", "barcode")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawals:
    """Copies that a file withdraws, by (agency, barcode), and titles with a complete list of copies, by (agency, bib_id).

    A title with the agency "" is complete for all libraries.
    """

    copies: frozenset[tuple[str, str]] = frozenset()
    titles: frozenset[tuple[str, str]] = frozenset()

    def covers(self, agency: str, barcode: str, bib: str) -> bool:
        """Check whether the file withdraws a copy that it does not list."""
        return (agency, barcode) in self.copies or (agency, bib) in self.titles or ("", bib) in self.titles

    def __bool__(self) -> bool:
        return bool(self.copies or self.titles)

    def parts(self) -> Iterator[Withdrawals]:
        """Split the withdrawals into parts of at most CHUNK copies or titles."""
        for copies in _split_pairs(self.copies):
            yield Withdrawals(copies=copies)
        for titles in _split_pairs(self.titles):
            yield Withdrawals(titles=titles)


def _split_pairs(pairs: Iterable[tuple[str, str]]) -> Iterator[frozenset[tuple[str, str]]]:
    rest = iter(sorted(pairs))
    while part := frozenset(islice(rest, CHUNK)):
        yield part


NOTHING: Final = Withdrawals()


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """The number of copies that a library had `before` a load and would lose by it. LoadReport explains the other counts."""

    library: str
    before: int
    vanishing: int
    withdrawn: int

    def gone(self, *, full: bool) -> int:
        """Return the number of copies that the load would delete."""
        return self.vanishing if full else self.withdrawn

    def is_too_much(self, *, full: bool) -> bool:
        """Check whether the library would lose suspiciously many copies."""
        return self.gone(full=full) > max(FEW_COPIES, self.before * MOST_VANISHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadReport:
    """The number of rows that loading a file would change.

    Attributes:
        vanishing: Number of rows that the file does not list.
        replaced: Number of cards that get another number.
        withdrawn: Number of rows that the file withdraws.
        losses: Counts by library, because the totals would hide the loss of one library.
    """

    before: int
    new: int
    changed: int
    same: int
    vanishing: int
    replaced: int = 0
    withdrawn: int = 0
    losses: tuple[Loss, ...] = ()

    def gone(self, *, full: bool) -> int:
        """Return the number of rows that the load would delete."""
        return self.vanishing if full else self.withdrawn

    def too_many_vanish(self, *, full: bool) -> bool:
        """Check whether suspiciously many rows would vanish, in total or from one library."""
        return self.gone(full=full) > self.before * MOST_VANISHING or any(one.is_too_much(full=full) for one in self.losses)


def compare(
    unit: UnitOfWork,
    kind: str,
    rows: Sequence[Any],
    present: Mapping[str, str] = NONE,
    spared: Collection[str] = (),
    columns: Collection[str] | None = None,
) -> LoadReport:
    """Count the changes that these rows would make.

    `present` maps former to current cards, with a person's latest former card last. `spared` are cards that stay although the
    file has no usable row for them. `columns` are the columns of the file, or None for all columns.
    """
    what = KINDS[kind]
    names = _field_names(what, columns)
    found = unit.execute(select(*(what.table.c[name] for name in names))).mappings()
    there = {tuple(row[k] for k in what.key): dict(row) for row in found}
    for former, card in reversed(list(present.items())):
        if was := there.pop((former,), None):
            there.setdefault((card,), was)
    coming = {tuple(getattr(row, k) for k in what.key): field_values(row, names) for row in rows}
    shared = there.keys() & coming.keys()
    same = sum(there[key] == coming[key] for key in shared)
    unnamed = there.keys() - shared - {(card,) for card in spared}
    return LoadReport(
        before=len(there),
        new=len(coming) - len(shared),
        changed=len(shared) - same,
        same=same,
        vanishing=len(unnamed),
        replaced=len(present),
    )


def compare_copies(
    unit: UnitOfWork,
    staged: StagedCopies,
    columns: Collection[str] | None = None,
    withdrawals: Withdrawals = NOTHING,
    agency: str = "",
) -> LoadReport:
    """Count the changes that the copies of a file would make.

    `columns` are the columns of the file, or None for all columns. `agency` is the library whose copies the file has, or ""
    for several libraries.
    """
    names = _field_names(KINDS["holdings"], columns)
    facts = attrgetter(*names)
    before, vanishing, withdrawn = Counter[str](), Counter[str](), Counter[str]()
    shared = same = 0
    there = select(H.agency, H.barcode, H.bib_id, *(H[name] for name in names)).execution_options(yield_per=CHUNK)
    for owner, barcode, bib_id, *values in unit.execute(there):
        before[owner] += 1
        if copy := staged.find(owner, barcode):
            shared += 1
            same += facts(copy) == tuple(values)
        elif agency in {"", owner}:
            vanishing[owner] += 1
            withdrawn[owner] += withdrawals.covers(owner, barcode, bib_id)
    losses = tuple(
        Loss(library=owner, before=before[owner], vanishing=lost, withdrawn=withdrawn[owner])
        for owner, lost in sorted(vanishing.items())
    )
    return LoadReport(
        before=before.total(),
        new=len(staged) - shared,
        changed=shared - same,
        same=same,
        vanishing=vanishing.total(),
        replaced=0,
        withdrawn=withdrawn.total(),
        losses=losses,
    )


def begin(unit: UnitOfWork, kind: str) -> int:
    """Return the number for a new import, which `finish` makes current.

    The number exceeds every number written before, also by an import that was given up, because
    its rows must not count.
    """
    written = unit.execute(select(func.max(KINDS[kind].table.c.load))).scalar()
    return max(current(unit, kind), written or 0) + 1


def write(unit: UnitOfWork, kind: str, rows: Sequence[Any], number: int, columns: Collection[str] | None = None) -> None:
    """Write at most CHUNK rows. In existing rows, overwrite only `columns`, the columns of the file (None means all)."""
    what = KINDS[kind]
    if not rows:
        return
    if what.table is HOLDINGS:
        write_copies(unit, rows, number, columns)
        return
    written = [{**field_values(row, _field_names(what)), "load": number} for row in rows]
    unit.execute(insert_or_write_over(what.table, unit.dialect, [*_field_names(what, columns), "load"]), written)


def write_copies(
    unit: UnitOfWork,
    rows: Sequence[Holding],
    number: int,
    columns: Collection[str] | None = None,
    titles: Mapping[str, Title] = NO_TITLES,
) -> None:
    """Write copies like `write`, with their shelving keys, their titles and the titles' search words.

    `titles` are titles from MARC records, by `bib_id`. If the rows are sorted by `bib_id`, each title is computed only once.
    """
    what = KINDS["holdings"]
    names = _field_names(what)
    written = with_keys({**field_values(row, names), "load": number} for row in rows)
    changed = [*_field_names(what, columns), "load"]
    changed += ["shelving_key"] if "call_number" in changed else []
    # Include the titles that these copies have in the database, because a file may move a copy to another title.
    there = unit.execute(select(H.agency, H.barcode, H.bib_id).where(H.barcode.in_([row.barcode for row in rows])))
    copies = {(row.agency, row.barcode) for row in rows}
    before = {bib_id for agency, barcode, bib_id in there if (agency, barcode) in copies}
    write_over(unit.connection, what.table, written, changed)
    unit.transaction.ahead.forget()
    catalogue.refresh(unit.connection, {row.bib_id for row in rows} | before, titles)


def write_patrons(
    unit: UnitOfWork,
    rows: Sequence[Borrower],
    number: int,
    present: Mapping[str, str],
    now: datetime,
    by: Actor,
    columns: Collection[str] | None = None,
) -> None:
    """Write patrons like `write`, and replace their former cards in the same unit of work.

    Cards are replaced first, so that a patron's data missing from the file is kept under the new card.
    """
    cards = {row.barcode for row in rows}
    former_cards.reinstate(unit, cards)
    former_cards.replace_cards(unit, {former: card for former, card in present.items() if card in cards}, now, by)
    write(unit, "patrons", rows, number, columns)


def spare(unit: UnitOfWork, cards: Collection[str], number: int) -> None:
    """Keep these patrons although the file has no usable row for them."""
    unit.execute(update(PATRONS).where(PATRONS.c.barcode.in_(cards)).values(load=number))


def finish(unit: UnitOfWork, kind: str, number: int, full: bool, now: datetime | None = None) -> int:
    """Make the import current. After a full import, delete the rows that it did not write, and return the count."""
    what, name = KINDS[kind], f"load {kind}"
    if full and what.table is PATRONS:
        former_cards.forget_former_cards_of(unit, number)
        web_sessions.end_of_vanished(unit, number)
    gone = 0
    if full and what.table is HOLDINGS:
        while some := remove_unnamed(unit, number):
            gone += some
    elif full:
        gone = unit.execute(delete(what.table).where(what.table.c.load < number)).rowcount
    count = unit.execute(select(func.count()).select_from(what.table)).scalar_one()
    values = {"cursor": str(number), "count": count, "last_run": now}
    unit.execute(insert_or_write_over(JOBS, unit.dialect, values), {"name": name, **values})
    return gone


def remove_unnamed(unit: UnitOfWork, number: int, agency: str = "") -> int:
    """Delete copies of `agency` ("" for all) that this import did not write, for at most CHUNK titles. Return the count."""
    unnamed = and_(HOLDINGS.c.load < number, *([HOLDINGS.c.agency == agency] if agency else []))
    bibs = unit.execute(select(HOLDINGS.c.bib_id).where(unnamed).distinct().limit(CHUNK)).scalars().all()
    gone = unit.execute(delete(HOLDINGS).where(HOLDINGS.c.bib_id.in_(bibs), unnamed)).rowcount if bibs else 0
    catalogue.refresh(unit.connection, bibs)
    return gone


def withdraw(unit: UnitOfWork, what: Withdrawals, number: int) -> int:
    """Delete the copies that a file withdraws, except copies written by this import, and return the number of copies."""
    named = unit.execute(
        select(HOLDINGS.c.agency, HOLDINGS.c.barcode, HOLDINGS.c.bib_id).where(
            HOLDINGS.c.load < number,
            or_(
                HOLDINGS.c.bib_id.in_([bib for _, bib in what.titles]),
                HOLDINGS.c.barcode.in_([barcode for _, barcode in what.copies]),
            ),
        )
    )
    gone = [row for row in named if what.covers(row.agency, row.barcode, row.bib_id)]
    for row in gone:
        unit.execute(delete(HOLDINGS).where(HOLDINGS.c.agency == row.agency, HOLDINGS.c.barcode == row.barcode))
    catalogue.refresh(unit.connection, {row.bib_id for row in gone})
    return len(gone)


def current(unit: UnitOfWork, kind: str) -> int:
    """Return the number of the current import of this kind, or 0 if there was none."""
    cursor = unit.execute(select(JOBS.c.cursor).where(JOBS.c.name == f"load {kind}")).scalar()
    return int(cursor or 0)


def loaded_at(unit: UnitOfWork, kind: str) -> datetime | None:
    """Return when the current import of this kind was finished, or None if there was no import."""
    found = _LOADED_AT.first(unit.connection, name=f"load {kind}")
    return found["last_run"] if found else None


_LOADED_AT = CompiledStatement(select(JOBS.c.last_run).where(JOBS.c.name == bindparam("name")))


def _field_names(what: FileKind, columns: Collection[str] | None = None) -> list[str]:
    """Return the field names of this kind's records, limited to `columns` unless it is None."""
    return [field.name for field in fields(what.record) if columns is None or field.name in columns]


def field_values(row: Borrower | Holding, names: Sequence[str]) -> dict[str, Any]:
    """Return these fields of a record, with sensitive texts in plain text."""
    values = dict(zip(names, attrgetter(*names)(row), strict=True))
    if isinstance(row, Holding):
        return values
    return {name: value.reveal() if isinstance(value, Sensitive) else value for name, value in values.items()}


def write_closures(unit: UnitOfWork, days: Sequence[tuple[str, date, str]]) -> None:
    """Replace the closed days of the libraries that occur in `days`."""
    agencies = sorted({agency for agency, _, _ in days})
    unit.execute(delete(CLOSURES).where(CLOSURES.c.agency.in_(agencies)))
    if days:
        unit.execute(CLOSURES.insert(), [{"agency": a, "day": day, "reason": why} for a, day, why in days])


def write_partners(unit: UnitOfWork, partners: Sequence[Partner]) -> None:
    """Write partners into the directory."""
    unit.partners.write(partners)


def write_opening(unit: UnitOfWork, requests: Sequence[Request], agency: str, now: datetime, by: Actor) -> int:
    """Insert requests that were open before the gateway was introduced. Return the number of newly stored requests."""
    fresh = [r for r in requests if unit.requests.find(r.id) is None]
    for request in fresh:
        lending = request.side is Side.LENDING
        unit.open(
            replace(
                request,
                patron=former_cards.present_card(unit, request.patron) or request.patron,
                item_agency=agency if lending and request.item_barcode else request.item_agency,
                wire_agency=request.wire_agency if lending else agency,
            ),
            now,
            by,
        )
    return len(fresh)
