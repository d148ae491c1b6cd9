"""Let a file of the command `load` take effect as a whole, or not at all.

First the whole file is stored in `staged_loads`, in short transactions. A fault until then leaves
the data as they were. The last of these transactions seals the load. From then on the load is
carried out in bounded steps, each of which removes what it has carried out in the same transaction.
A process that dies in between leaves the rest to the next `load` of the kind, or to the gateway's
round `loads`. While a sealed load is carried out, readers see some of its rows before the others,
because one long transaction would keep the terminals waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, timedelta
from itertools import takewhile
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, select, update

from hkall_gateway.db.engine.locks import LockSet
from hkall_gateway.db.loads import catalogue, loading
from hkall_gateway.db.loads.loading import CHUNK, StagedCopies, Withdrawals
from hkall_gateway.db.tables import STAGED_LOADS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor, Borrower, Holding, Sensitive, Title

S = STAGED_LOADS.c
LOCK: Final = LockSet(document=("", "load"))
"""The lock of every transaction of a load, so that two loads take turns."""
REPLACING: Final = 50
"""Rows per step when cards are replaced, since each replacement moves all data of one person."""
ABANDONED: Final = timedelta(hours=1)
"""Time without progress after which a load that was never sealed is deleted."""
RESTING: Final = timedelta(minutes=2)
"""Time without progress after which the gateway carries on with a sealed load."""

HEADER: Final = 0
"""The place of a load's header, before its steps."""
BEGUN: Final = "begun"
SEALED: Final = "sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What is the same for all rows of a file.

    Attributes:
        full: Whether rows that the file does not list vanish.
        columns: The columns of the file, or None for all columns.
        agency: The library whose copies the file has, or "" for several libraries.
        number: The number of the import, or 0 as long as no step was carried out.
    """

    full: bool
    by: Actor
    columns: Collection[str] | None = None
    agency: str = ""
    number: int = 0

    def as_json(self) -> str:
        """Return the options as JSON."""
        columns = None if self.columns is None else sorted(self.columns)
        return _as_json({**asdict(self), "columns": columns})

    @classmethod
    def from_json(cls, text: str) -> LoadOptions:
        """Read options that `as_json` wrote."""
        values = orjson.loads(text)
        return cls(**{**values, "by": Actor(**values["by"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A part of a load: the key of STEPS, and what it works on. `card` is the card of a patron's row."""

    work: str
    body: object = None
    card: str = ""


# ---- the parts of a file


def patron_steps(rows: Sequence[Borrower], present: Mapping[str, str], spared: Sequence[str]) -> Iterator[Step]:
    """Yield the steps of a file of patrons. loading.compare explains `present` and `spared`."""
    names = [field.name for field in fields(Borrower)]
    former_of: dict[str, list[str]] = {}
    for former_card, present_card in present.items():
        former_of.setdefault(present_card, []).append(former_card)
    for row in rows:
        values = loading.field_values(row, names)
        former = former_of.get(row.barcode, [])
        yield Step(work="patron", body={"patron": values, "former": former}, card=row.barcode)
    for card in spared:
        yield Step(work="spare", card=card)
    yield Step(work="finish")


def copy_steps(copies: StagedCopies, titles: Mapping[str, Title], withdrawals: Withdrawals, *, full: bool) -> Iterator[Step]:
    """Yield the steps of a file of holdings. `titles` are titles from MARC records, by `bib_id`."""
    for chunk in copies.chunks(CHUNK):
        bibs = dict.fromkeys(copy.bib_id for copy in chunk)
        records = {bib: titles[bib] for bib in bibs if bib in titles}
        yield Step(work="copies", body={"copies": chunk, "titles": records})
    if full:
        yield Step(work="unnamed")
    else:
        for part in withdrawals.parts():
            named = {"copies": sorted(part.copies), "titles": sorted(part.titles)}
            yield Step(work="withdraw", body=named)
    yield Step(work="settle")
    yield Step(work="finish")


# ---- storing a file


def begin(unit: UnitOfWork, kind: str, options: LoadOptions, now: datetime) -> int:
    """Begin to store a file, and return the number of the stored load."""
    delete_abandoned(unit, now)
    last = unit.execute(select(func.max(S.load))).scalar()
    load = (last or 0) + 1
    header = {"load": load, "place": HEADER, "kind": kind, "work": BEGUN, "at": now}
    unit.execute(insert(STAGED_LOADS), {**header, "body": options.as_json()})
    return load


def add_steps(unit: UnitOfWork, load: int, first: int, steps: Sequence[Step], now: datetime) -> None:
    """Store a few steps. `first` is the place of the first one. The places of a load begin with 1."""
    header = _header_of(unit, load)
    rows = [
        {
            "load": load,
            "place": place,
            "kind": header.kind,
            "work": step.work,
            "card": step.card,
            "body": _as_json(step.body),
            "at": now,
        }
        for place, step in enumerate(steps, first)
    ]
    unit.execute(insert(STAGED_LOADS), rows)
    _touch(unit, load, now)


def seal(unit: UnitOfWork, load: int, now: datetime) -> None:
    """Note that the whole file is stored, so that it will take effect."""
    unit.execute(update(STAGED_LOADS).where(*_is_header(load)).values(work=SEALED, at=now))


def discard(unit: UnitOfWork, load: int) -> None:
    """Delete a stored load."""
    unit.execute(delete(STAGED_LOADS).where(S.load == load))


def discard_kind(unit: UnitOfWork, kind: str) -> None:
    """Delete the sealed loads of this kind, which could not be carried out."""
    sealed = select(S.load).where(S.place == HEADER, S.work == SEALED, S.kind == kind)
    unit.execute(delete(STAGED_LOADS).where(S.load.in_(sealed)))


def delete_abandoned(unit: UnitOfWork, now: datetime) -> None:
    """Delete loads whose command died before the whole file was stored."""
    begun = (S.place == HEADER, S.work == BEGUN, S.at < now - ABANDONED)
    for load in unit.execute(select(S.load).where(*begun)).scalars().all():
        discard(unit, load)


# ---- carrying it out


def unfinished(connection: Connection) -> Mapping[str, datetime]:
    """Return the time of the last step of each kind of load that is sealed and not finished."""
    sealed = select(S.kind, S.at).where(S.place == HEADER, S.work == SEALED).order_by(S.load.desc())
    return {row.kind: row.at for row in connection.execute(sealed)}


def take_step(unit: UnitOfWork, kind: str, now: datetime) -> bool:
    """Carry out the next step of the first sealed load of this kind.

    Returns:
        Whether there was such a load. Its last step removes it.
    """
    headers = _sealed_headers(unit, S.kind == kind)
    if not headers:
        return False
    # A load that was begun is finished before the next one, because its number is the lower one.
    header = min(headers, key=lambda row: (not LoadOptions.from_json(row.body).number, row.load))
    options = LoadOptions.from_json(header.body)
    if not options.number:
        options = replace(options, number=loading.begin(unit, kind))
        body = options.as_json()
        unit.execute(update(STAGED_LOADS).where(*_is_header(header.load)).values(body=body))
    steps = _next_steps(unit, header.load)
    is_done = STEPS[steps[0].work](unit, kind, options, steps, now)
    if steps[0].work == "finish":
        discard(unit, header.load)
        return True
    if is_done:
        places = [step.place for step in steps]
        unit.execute(delete(STAGED_LOADS).where(S.load == header.load, S.place.in_(places)))
    _touch(unit, header.load, now)
    return True


def resume(unit: UnitOfWork, now: datetime, kind: str = "") -> str | None:
    """Carry out a step of a sealed load whose command has died, and delete abandoned loads.

    `kind` is the kind that the last call returned, or "" for any kind that has rested.

    Returns:
        The kind of the load that goes on, or None if there is nothing to do.
    """
    unit.lock([LOCK])
    if not kind:
        delete_abandoned(unit, now)
        resting = _sealed_headers(unit, S.at < now - RESTING)
        if not resting:
            return None
        kind = resting[0].kind
    return kind if take_step(unit, kind, now) else None


AnyRow = Row[*tuple[Any, ...]]


def _write_patrons(unit: UnitOfWork, _kind: str, options: LoadOptions, steps: Sequence[AnyRow], now: datetime) -> bool:
    rows = []
    present = {}
    for step in steps:
        body = orjson.loads(step.body)
        rows.append(_borrower(body["patron"]))
        present.update(dict.fromkeys(body["former"], step.card))
    loading.write_patrons(unit, rows, options.number, present, now, options.by, options.columns)
    return True


def _spare_patrons(unit: UnitOfWork, _kind: str, options: LoadOptions, steps: Sequence[AnyRow], _now: datetime) -> bool:
    loading.spare(unit, [step.card for step in steps], options.number)
    return True


def _write_copies(unit: UnitOfWork, _kind: str, options: LoadOptions, steps: Sequence[AnyRow], _now: datetime) -> bool:
    body = orjson.loads(steps[0].body)
    copies = [Holding(**values) for values in body["copies"]]
    titles = {bib: Title(**{**values, "isbns": tuple(values["isbns"])}) for bib, values in body["titles"].items()}
    loading.write_copies(unit, copies, options.number, options.columns, titles)
    return True


def _withdraw_copies(unit: UnitOfWork, _kind: str, options: LoadOptions, steps: Sequence[AnyRow], _now: datetime) -> bool:
    body = orjson.loads(steps[0].body)
    part = Withdrawals(
        copies=frozenset((agency, barcode) for agency, barcode in body["copies"]),
        titles=frozenset((agency, bib_id) for agency, bib_id in body["titles"]),
    )
    loading.withdraw(unit, part, options.number)
    return True


def _remove_unnamed(unit: UnitOfWork, _kind: str, options: LoadOptions, _steps: Sequence[AnyRow], _now: datetime) -> bool:
    return not loading.remove_unnamed(unit, options.number, options.agency)


def _settle_search(unit: UnitOfWork, _kind: str, _options: LoadOptions, _steps: Sequence[AnyRow], _now: datetime) -> bool:
    catalogue.settle(unit.connection)
    return True


def _finish(unit: UnitOfWork, kind: str, options: LoadOptions, _steps: Sequence[AnyRow], now: datetime) -> bool:
    # The unnamed copies are gone already, in steps of their own.
    remove = options.full and kind == "patrons"
    loading.finish(unit, kind, options.number, remove, now)
    return True


TakeStep = Callable[[UnitOfWork, str, LoadOptions, Sequence[AnyRow], datetime], bool]
"""Carries out steps of one kind. Returns whether they are done, or must be taken again."""
# fmt: off
STEPS: Final[Mapping[str, TakeStep]] = {
    "patron":   _write_patrons,
    "spare":    _spare_patrons,
    "copies":   _write_copies,
    "withdraw": _withdraw_copies,
    "unnamed":  _remove_unnamed,
    "settle":   _settle_search,
    "finish":   _finish,
}
# fmt: on
TOGETHER: Final = {"patron", "spare"}
"""Steps of one row each, of which many are carried out in one transaction."""


def _next_steps(unit: UnitOfWork, load: int) -> Sequence[AnyRow]:
    """Return the steps of a load that the next transaction carries out."""
    later = select(STAGED_LOADS).where(S.load == load, S.place > HEADER).order_by(S.place)
    first = unit.execute(later.limit(1)).one()
    if first.work not in TOGETHER:
        return [first]
    rows = unit.execute(later.limit(CHUNK)).all()
    together = list(takewhile(lambda row: row.work == first.work, rows))
    replaces = any(orjson.loads(row.body)["former"] for row in together if row.work == "patron")
    return together[:REPLACING] if replaces else together


def _is_header(load: int) -> tuple[ColumnElement[bool], ...]:
    return S.load == load, S.place == HEADER


def _header_of(unit: UnitOfWork, load: int) -> AnyRow:
    return unit.execute(select(STAGED_LOADS).where(*_is_header(load))).one()


def _sealed_headers(unit: UnitOfWork, *where: ColumnElement[bool]) -> Sequence[AnyRow]:
    sealed = select(STAGED_LOADS).where(S.place == HEADER, S.work == SEALED, *where)
    return unit.execute(sealed.order_by(S.load)).all()


def _touch(unit: UnitOfWork, load: int, now: datetime) -> None:
    """Note the time of the last progress of a load."""
    unit.execute(update(STAGED_LOADS).where(*_is_header(load)).values(at=now))


_SENSITIVE: Final = frozenset(field.name for field in fields(Borrower) if field.type == "Sensitive")


def _borrower(values: dict[str, Any]) -> Borrower:
    hidden = {name: Sensitive(values[name]) for name in _SENSITIVE}
    expires = date.fromisoformat(values["expires"]) if values["expires"] else None
    return Borrower(**{**values, **hidden, "expires": expires})


def _as_json(value: object) -> str:
    return orjson.dumps(value).decode()
