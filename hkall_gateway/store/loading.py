"""What `load` writes: whole files in short transactions, under one import number that becomes current at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from sqlalchemy import Table, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from hkall_gateway.rules.vocabulary import Borrower, Holding, Sensitive
from hkall_gateway.store.tables import HOLDINGS, JOBS, PATRONS
from hkall_gateway.store.unit import Unit

CHUNK: Final = 500
MOST_VANISHING: Final = 0.2


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
    """What a file would change: counts of rows."""

    before: int
    new: int
    changed: int
    same: int
    vanishing: int

    @property
    def too_many_vanish(self) -> bool:
        return self.vanishing > self.before * MOST_VANISHING


def compare(unit: Unit, kind: str, rows: Sequence[Any]) -> Report:
    """What loading these rows would change; nothing is written."""
    what = KINDS[kind]
    columns = [what.table.c[f.name] for f in fields(what.record)]
    found = unit.execute(select(*columns)).mappings()
    there = {tuple(row[k] for k in what.key): dict(row) for row in found}
    coming = {tuple(getattr(row, k) for k in what.key): _values(row) for row in rows}
    shared = there.keys() & coming.keys()
    same = sum(there[key] == coming[key] for key in shared)
    new = len(coming) - len(shared)
    return Report(len(there), new, len(shared) - same, same, len(there) - len(shared))


def begin(unit: Unit, kind: str) -> int:
    """The number of a new import; it is not current before `finish`.

    It is above every number ever written, also by an import that died half way: what only that one named must not pass
    for part of this one.
    """
    current = unit.execute(select(JOBS.c.cursor).where(JOBS.c.name == f"load {kind}")).scalar()
    written = unit.execute(select(func.max(KINDS[kind].table.c.load))).scalar()
    return max(int(current or 0), written or 0) + 1


def write(unit: Unit, kind: str, rows: Sequence[Any], number: int) -> None:
    """At most CHUNK rows: new ones are added, known ones overwritten."""
    what = KINDS[kind]
    if not rows:
        return
    dialect: Any = sqlite if unit.dialect == "sqlite" else postgresql
    adding = dialect.insert(what.table)
    changing = {name: adding.excluded[name] for name in (*_values(rows[0]), "load") if name not in what.key}
    upsert = adding.on_conflict_do_update(index_elements=list(what.key), set_=changing)
    unit.execute(upsert, [{**_values(row), "load": number} for row in rows])


def finish(unit: Unit, kind: str, number: int, full: bool) -> int:
    """The import is current. After a full one, what it did not name vanishes; how many did."""
    what, name = KINDS[kind], f"load {kind}"
    gone = unit.execute(delete(what.table).where(what.table.c.load < number)).rowcount if full else 0
    count = unit.execute(select(func.count()).select_from(what.table)).scalar_one()
    values = {"cursor": str(number), "count": count}
    if unit.execute(update(JOBS).where(JOBS.c.name == name).values(**values)).rowcount == 0:
        unit.execute(JOBS.insert().values(name=name, **values))
    return gone


def _values(row: Borrower | Holding) -> dict[str, Any]:
    return {name: value.reveal() if isinstance(value, Sensitive) else value for name, value in asdict(row).items()}
