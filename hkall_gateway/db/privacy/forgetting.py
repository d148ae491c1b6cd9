"""Erase one person from the tables and from an archive, except from open cases.

Rows of open cases stay unchanged: requests that have not ended or are blocked by open money, a claim or an unsent message;
unsent messages; quarantined documents that wait for a decision; cards that a terminal blocked. While such a row remains, the
patron's row remains too, because a pickup letter needs the address and a fine needs the name. The person is removed from all
other rows, which keep library, title, dates, positions, rules and amounts.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, Table, delete, select, update
from sqlalchemy.pool import StaticPool

from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.outbox import UNSETTLED
from hkall_gateway.db.privacy import archive, erased, persons, retention
from hkall_gateway.db.privacy.erased import Mark
from hkall_gateway.db.privacy.persons import Person, Row
from hkall_gateway.db.requests import BLANK
from hkall_gateway.db.tables import (
    ATTEMPTS,
    CARD_BLOCKS,
    CARD_LOCKS,
    FINES,
    FORMER_CARDS,
    INBOX,
    JOURNAL,
    METADATA,
    OUTBOX,
    PATRON_NUMBERS,
    PATRONS,
    PAYMENTS,
    QUARANTINE,
    REQUESTS,
    STAGED_LOADS,
    WEB_SCANS,
    WEB_SESSIONS,
)
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.stored_words import QuarantineState
from hkall_gateway.rules.vocabulary import Actor

# `secure_delete` overwrites a deleted row in place. But copies that SQLite made when it moved rows between pages stay in the
# free space of those pages (seen 2026-11-27 with SQLite 3.46.1: in 26 of 60 random histories), and older pages stay in the
# write-ahead log until it is truncated. VACUUM rewrites the file, during which other processes cannot write.


def file_of(engine: Engine) -> Path | None:
    """Return the file of an SQLite database, or None for a database in memory or on a server."""
    if engine.dialect.name != "sqlite" or isinstance(engine.pool, StaticPool) or not engine.url.database:
        return None
    return Path(engine.url.database)


def vacuum(engine: Engine) -> bool:
    """Rewrite the file without free space, and empty its log. Raises OperationalError if another process is writing."""
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM")
        return empty_the_log(connection)


def empty_the_log(connection: Connection) -> bool:
    """Move the content of the write-ahead log into the file, and truncate the log. Return False if a reader prevents it."""
    busy, _frames, _moved = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
    return not busy


ERASE: Final = "ERASE_PATRON"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemainingRow:
    """A row that still names the person: its kind, its number, the reason, and the event after which it can be erased."""

    what: str
    which: str
    why: str
    then: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureResult:
    """The number of anonymised requests and of other changed rows, and the rows that still name the person."""

    requests: int
    rows: int
    stays: tuple[RemainingRow, ...]

    def and_then(self, more: ErasureResult) -> ErasureResult:
        """Combine this result with the result of a second erasure of the same person."""
        return ErasureResult(
            requests=self.requests + more.requests,
            rows=self.rows + more.rows,
            stays=tuple(dict.fromkeys(self.stays + more.stays)),
        )


Found = tuple[str, Row]
"""A table name and one row of the table."""


def find(unit: UnitOfWork, who: Person, but: Sequence[Found] = ()) -> list[Found]:
    """Return every row that names the person, except the rows in `but`. Reads whole tables and does not write."""
    known = {(name, persons.key_of(_TABLES[name], row)) for name, row in but}
    mentioned = persons.rows_naming(unit, who)
    return [(table.name, row) for table, row in mentioned if (table.name, persons.key_of(table, row)) not in known]


def forget(
    unit: UnitOfWork, who: Person, found: Sequence[Found], marks: Sequence[Mark], reason: str, now: datetime, by: Actor
) -> ErasureResult:
    """Erase the person from the `found` rows, store the marks, and write a journal line about the erasure.

    A row that has changed since it was found is handled in its current state. Until the transaction ends, locks prevent other
    gateways from changing data of these cards or archiving rows. An archive read afterwards thus has all archived rows.
    """
    unit.lock([retention.MOVING, *(LockSet(card, whole=True) for card in sorted(who.cards))])
    for card in who.cards:
        unit.patrons.forget_history(card)
    theirs = unit.requests.batch(REQUESTS.c.patron.in_(who.cards), order=(REQUESTS.c.id,), limit=_ALL)
    held = retention.held(unit, theirs)
    ended = [request for request in theirs if request.id not in held]
    if ended:
        retention.anonymise(unit, ended)
    kept = [request for request in theirs if request.id in held]
    erasure = Erasure(
        unit,
        who,
        [
            RemainingRow(what="request", which=r.id, why=f"{r.position}: {held[r.id]}", then=f"requests show {r.id}")
            for r in kept
        ],
    )
    count = 0
    # Handle the patron's row and the former cards last, because they stay if any other row stays.
    for table, row in sorted(_present_rows(unit, found), key=lambda one: one[0] in (PATRONS, FORMER_CARDS)):
        if persons.names(table, row, who) and not _is_part(unit, table, row, held):
            if stays := _why_it_stays(erasure, table, row):
                erasure.stays.append(stays)
            else:
                _erase_row(erasure, table, row)
                count += 1
    erased.store_marks(unit, marks)
    facts = {"because": who.without(reason), "requests": len(ended), "rows": count, "stays": len(erasure.stays)}
    unit.note(BLANK, ERASE, facts, now, by)  # BLANK, so that the line does not name the person
    return ErasureResult(requests=len(ended), rows=count, stays=tuple(erasure.stays))


_ALL: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure in progress: the person, and the rows found so far that stay."""

    unit: UnitOfWork
    who: Person
    stays: list[RemainingRow]


def _present_rows(unit: UnitOfWork, found: Sequence[Found]) -> Iterator[tuple[Table, Row]]:
    for name, row in found:
        table = _TABLES[name]
        now = unit.execute(select(table).where(*persons.row_condition(table, row))).mappings().first()
        if now is not None:
            yield table, dict(now)


_TABLES: Final = {table.name: table for table in METADATA.sorted_tables}


def _is_part(unit: UnitOfWork, table: Table, row: Row, held: Mapping[str, str]) -> bool:
    """Check whether a row belongs to a request that stays, and therefore stays too."""
    if table is REQUESTS:
        return row["id"] in held
    if table is ATTEMPTS:
        return unit.execute(select(OUTBOX.c.request).where(OUTBOX.c.id == row["row"])).scalar() in held
    if table is INBOX:
        return any(f'"{number}"' in row["outcome"] for number in held)
    return row.get("request", "") in held


def _scrub_row(erasure: Erasure, table: Table, row: Row) -> None:
    """Remove the person from the texts of a row, or delete the row if its primary key names the person."""
    if any(erasure.who.is_in(row[column.name], column.name) for column in table.primary_key):
        erasure.unit.execute(delete(table).where(*persons.row_condition(table, row)))
        return
    named = [c.name for c in persons.personal(table) if c.computed is None and erasure.who.is_in(row[c.name], c.name)]
    new = {name: erasure.who.out_of(row[name], name) for name in named}
    erasure.unit.execute(update(table).where(*persons.row_condition(table, row)).values(**new))


def _blank_row(erasure: Erasure, table: Table, row: Row) -> None:
    """Remove the person from a payment or a journal line without a request. Blank the details of the person's own rows."""
    blank = _BLANK[table.name]
    if row["patron"] in erasure.who.cards:
        erasure.unit.execute(update(table).where(*persons.row_condition(table, row)).values(**blank))
        row = {**row, **blank}
    if persons.names(table, row, erasure.who):
        _scrub_row(erasure, table, row)


_BLANK: Final = {JOURNAL.name: retention.NO_PERSON_IN[JOURNAL], PAYMENTS.name: retention.NO_PAYER}
_PERSONAL: Final = frozenset(
    table.name
    for table in (
        PATRONS,
        QUARANTINE,
        CARD_LOCKS,
        INBOX,
        STAGED_LOADS,
        WEB_SESSIONS,
        WEB_SCANS,
        PATRON_NUMBERS,
    )
)
"""Tables whose rows are deleted. Rows of other tables are kept without the person."""
_LATER: Final = "patron erase, once it is settled"


def _why_it_stays(erasure: Erasure, table: Table, row: Row) -> RemainingRow | None:
    """Return the RemainingRow for a row of an open case, or None if the row can be erased."""
    cards, number = set(erasure.who.cards), str(row.get("id", ""))
    if table is PATRONS and erasure.stays:
        return RemainingRow(what="patron", which="", why="open matters need name and address", then=_LATER)
    if table is FORMER_CARDS and erasure.stays and {row["card"], row["present"]} & cards:
        return RemainingRow(what="former_card", which="", why="open matters are found by it too", then=_LATER)
    if table is OUTBOX and row["state"] in UNSETTLED:
        return RemainingRow(
            what="message", which=number, why=f"{row['state']}: it is not sent yet", then=f"outbox show {number}"
        )
    if table is QUARANTINE and row["state"] == QuarantineState.KEPT:
        return RemainingRow(what="quarantine", which=number, why="it waits to be judged", then=f"quarantine show {number}")
    if table is CARD_BLOCKS and row["card"] in cards:
        return RemainingRow(
            what="card_block", which="", why="a terminal blocked the card", then="a terminal lifts it (SIP2 25)"
        )
    if table is FINES and row["patron"] in cards and row["cents"] != row["paid_cents"] + row["waived_cents"]:
        return RemainingRow(what="fine", which=number, why="money is open", then="fines list")
    return None


def _erase_row(erasure: Erasure, table: Table, row: Row) -> None:
    """Delete a row that exists only because of the person. From any other row, remove the person."""
    own_former_card = table is FORMER_CARDS and {row["card"], row["present"]} & set(erasure.who.cards)
    if table is OUTBOX:
        retention.delete_messages(erasure.unit, OUTBOX.c.id == row["id"])
    elif table.name in _PERSONAL or own_former_card:
        erasure.unit.execute(delete(table).where(*persons.row_condition(table, row)))
    elif table.name in _BLANK:
        _blank_row(erasure, table, row)
    else:
        _scrub_row(erasure, table, row)


def forget_in_archive(path: Path, who: Person) -> int:
    """Anonymise the person's records in an archive, and return the count. Raises NotAnArchive, OSError."""
    return archive.rewrite(path, lambda record: _anonymise_record(record, who))


def forget_again_in_archive(path: Path, erasures: Sequence[tuple[str, datetime]]) -> int:
    """Anonymise archived records that ended before their card was erased, and return the number of changed records.

    `erasures` are (card, time of erasure). Raises NotAnArchive, OSError.
    """
    in_time = sorted(erasures, key=lambda erasure: erasure[1])
    times = [at for _card, at in in_time]

    @cache
    def erased_from(place: int) -> Person:
        return Person(cards=tuple(card for card, _at in in_time[place:]))

    def change(record: Row) -> Row:
        later = bisect_right(times, datetime.fromisoformat(record.get("moved_at") or record["at"]))
        return _anonymise_record(record, erased_from(later)) if later < len(times) else record

    return archive.rewrite(path, change) if times else 0


def in_archive(path: Path, who: Person) -> list[Row]:
    """Return the records of an archive that name the person. Raises NotAnArchive, OSError."""
    return [record for record in archive.records(path) if _record_without(record, who) != record]


def cards_in_archive(path: Path) -> Iterator[str]:
    """Yield the card numbers in an archive. Raises NotAnArchive, OSError."""
    for record in archive.records(path):
        for table, row in _record_rows(record):
            yield from (row[column.name] for column in persons.card_columns(table) if row.get(column.name))


def _record_rows(record: Row) -> Iterator[tuple[Table, Row]]:
    """Yield an archived record as the row of its request or journal line, followed by the rows that belong to the request."""
    if JOURNAL.name not in record:
        yield JOURNAL, record
        return
    yield REQUESTS, record
    yield from ((part, row) for part in retention.PARTS for row in record[part.name])


def _anonymise_record(record: Row, who: Person) -> Row:
    theirs = record["patron"] in who.cards
    return _record_without(retention.anonymous(record) if theirs else record, who)


def _record_without(record: Row, who: Person) -> Row:
    """Return an archived record or journal line without the person."""
    if JOURNAL.name not in record:
        return _row_without(JOURNAL, record, who)
    parts = {part.name: [_row_without(part, row, who) for row in record[part.name]] for part in retention.PARTS}
    return {**_row_without(REQUESTS, record, who), **parts}


def _row_without(table: Table, row: Row, who: Person) -> Row:
    named = [c.name for c in persons.personal(table) if who.is_in(row.get(c.name), c.name)]
    return {**row, **{name: who.out_of(row[name], name) for name in named}}
