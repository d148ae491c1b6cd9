"""What `load` writes: whole files in short transactions, under one import number that becomes current at the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import date, datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Table, bindparam, delete, func, select, update

from hkall_gateway.rules.vocabulary import Borrower, By, Holding, Request, Sensitive, Side
from hkall_gateway.store import former_cards
from hkall_gateway.store.engine.compiled import CompiledStatement
from hkall_gateway.store.tables import CLOSURES, HOLDINGS, JOBS, PATRONS
from hkall_gateway.store.unit import Unit
from hkall_gateway.store.upsert import insert_or_write_over

CHUNK: Final = 500
MOST_VANISHING: Final = 0.2
NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of file: its table and the columns that name a row."""

    table: Table
    record: type[Borrower] | type[Holding]
    key: tuple[str, ...]


KINDS: Final = {
    "patrons": Kind(PATRONS, Borrower, ("barcode",)),
    "holdings": Kind(HOLDINGS, Holding, ("agency", "barcode")),
}


@dataclass(frozen=True, slots=True)
class Report:
    """What a file would change: counts of rows. `replaced` are cards that get another number."""

    before: int
    new: int
    changed: int
    same: int
    vanishing: int
    replaced: int = 0

    @property
    def too_many_vanish(self) -> bool:
        return self.vanishing > self.before * MOST_VANISHING


def compare(
    unit: Unit,
    kind: str,
    rows: Sequence[Any],
    present: Mapping[str, str] = NONE,
    spared: Collection[str] = (),
    columns: Collection[str] | None = None,
) -> Report:
    """What loading these rows would change; nothing is written.

    `present` are the new numbers of replaced cards, by the former ones, a person's latest card last. `spared` are cards that
    stay though no row names them. `columns` are those that the file has, None for all.
    """
    what = KINDS[kind]
    names = _names(what, columns)
    found = unit.execute(select(*(what.table.c[name] for name in names))).mappings()
    there = {tuple(row[k] for k in what.key): dict(row) for row in found}
    for former, card in reversed(list(present.items())):
        if was := there.pop((former,), None):
            there.setdefault((card,), was)
    coming = {tuple(getattr(row, k) for k in what.key): _values(row, names) for row in rows}
    shared = there.keys() & coming.keys()
    same = sum(there[key] == coming[key] for key in shared)
    new = len(coming) - len(shared)
    kept = sum((card,) in there and (card,) not in coming for card in spared)
    return Report(len(there), new, len(shared) - same, same, len(there) - len(shared) - kept, len(present))


def begin(unit: Unit, kind: str) -> int:
    """The number of a new import; it is not current before `finish`.

    It is above every number ever written, also by an import that died half way: what only that one named must not pass
    for part of this one.
    """
    current = unit.execute(select(JOBS.c.cursor).where(JOBS.c.name == f"load {kind}")).scalar()
    written = unit.execute(select(func.max(KINDS[kind].table.c.load))).scalar()
    return max(int(current or 0), written or 0) + 1


def write(unit: Unit, kind: str, rows: Sequence[Any], number: int, columns: Collection[str] | None = None) -> None:
    """At most CHUNK rows: new ones are added; of known ones the columns that the file has are overwritten, None for all."""
    what = KINDS[kind]
    if not rows:
        return
    written = [{**_values(row, _names(what)), "load": number} for row in rows]
    changed = [*_names(what, columns), "load"]
    unit.execute(insert_or_write_over(what.table, unit.dialect, changed), written)


def write_patrons(
    unit: Unit,
    rows: Sequence[Borrower],
    number: int,
    present: Mapping[str, str],
    now: datetime,
    by: By,
    columns: Collection[str] | None = None,
) -> None:
    """The same for patrons, whose cards replace former ones: both in one unit of work.

    A card is replaced first, so that what the file does not say of its owner is kept under the new one.
    """
    cards = {row.barcode for row in rows}
    former_cards.reinstate(unit, cards)
    former_cards.replace_cards(unit, {former: card for former, card in present.items() if card in cards}, now, by)
    write(unit, "patrons", rows, number, columns)


def spare(unit: Unit, cards: Collection[str], number: int) -> None:
    """These patrons stay as they were loaded before, though the file says nothing of them that can be taken."""
    unit.execute(update(PATRONS).where(PATRONS.c.barcode.in_(cards)).values(load=number))


def finish(unit: Unit, kind: str, number: int, full: bool, now: datetime | None = None) -> int:
    """The import is current, as of `now`. After a full one, what it did not name vanishes; how many did."""
    what, name = KINDS[kind], f"load {kind}"
    if full and what.table is PATRONS:
        former_cards.forget_former_cards_of(unit, number)
    gone = unit.execute(delete(what.table).where(what.table.c.load < number)).rowcount if full else 0
    count = unit.execute(select(func.count()).select_from(what.table)).scalar_one()
    values = {"cursor": str(number), "count": count, "last_run": now}
    unit.execute(insert_or_write_over(JOBS, unit.dialect, values), {"name": name, **values})
    return gone


def loaded_at(unit: Unit, kind: str) -> datetime | None:
    """When the current import of this kind was finished; None where there is none."""
    found = _LOADED_AT.first(unit.connection, name=f"load {kind}")
    return found["last_run"] if found else None


_LOADED_AT = CompiledStatement(select(JOBS.c.last_run).where(JOBS.c.name == bindparam("name")))


def _names(what: Kind, columns: Collection[str] | None = None) -> list[str]:
    """The fields of a record of this kind, or those of them that a file has."""
    return [field.name for field in fields(what.record) if columns is None or field.name in columns]


def _values(row: Borrower | Holding, names: Sequence[str]) -> dict[str, Any]:
    values = {name: getattr(row, name) for name in names}
    return {name: value.reveal() if isinstance(value, Sensitive) else value for name, value in values.items()}


def write_closures(unit: Unit, days: Sequence[tuple[str, date, str]]) -> None:
    """These days replace what was known of the same libraries' closures."""
    agencies = sorted({agency for agency, _, _ in days})
    unit.execute(delete(CLOSURES).where(CLOSURES.c.agency.in_(agencies)))
    if days:
        unit.execute(CLOSURES.insert(), [{"agency": a, "day": day, "reason": why} for a, day, why in days])


def write_opening(unit: Unit, requests: Sequence[Request], agency: str, now: datetime, by: By) -> int:
    """Requests that were open when the gateway took over; those that are here already are left alone. How many are new."""
    fresh = [r for r in requests if unit.request(r.id) is None]
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
