"""What a unit of work decides about, and how PostgreSQL keeps two gateways from deciding about it at once.

A whole group locks first what all its units will decide about, always in one order, so that the groups of two gateways wait
for each other and never both: first names (a card, a copy, a RequestId, a document), which may have no row yet or a row in
another system, then the rows of requests. Only what a courier claims is tried for and never waited for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import accumulate
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Text, TextClause, and_, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger

from hkall_gateway.rules.fixed import fixed
from hkall_gateway.store.engine.compiled import CompiledStatement
from hkall_gateway.store.tables import CANDIDATES, IS_OPEN, REQUESTS

Pair = tuple[str, str]
Named = tuple[str, tuple[str, ...]]
Meant = dict[Named, list[int]]
"""What is named, and the places in a group of those who name it."""
Fits = Callable[[ColumnElement[str], str], ColumnElement[bool]]
"""Makes of a column and a parameter's name the condition that they fit."""
NOTHING: Pair = ("", "")


@fixed(frozen=True, slots=True)
class Locks:
    """What a unit of work will decide about; what is empty is not locked.

    `request` is our number, `item` a copy's (agency, barcode), of which the barcode counts. `wires` are RequestIds between
    libraries and `placed` is a discovery system's, each (agency, value). `document` is a key of the inbox. `line` is the one
    to a partner. `whole`: all open requests of the patron too. `former` is another card of the patron, which `patron` replaces.
    """

    patron: str = ""
    request: str = ""
    item: Pair = NOTHING
    wires: tuple[Pair, ...] = ()
    placed: Pair = NOTHING
    document: Pair = NOTHING
    line: str = ""
    whole: bool = False
    former: str = ""

    def names(self) -> Iterator[str]:
        """What one gateway at a time decides about, whether there is a row of it or not."""
        named = (
            ("card", ("", self.patron)),
            ("card", ("", self.former)),
            ("copy", ("", self.item[1])),
            ("document", self.document),
            (LINE, ("", self.line)),
        )
        for kind, (agency, value) in (*named, *(("wire", wire) for wire in self.wires)):
            if value:
                yield _name(kind, agency, value)

    def requests(self) -> Iterator[Named]:
        """The requests that it decides about, as a row of WAYS and its values."""
        cards = (self.patron, self.former) if self.whole else ()
        ones = (("number", self.request), ("copy", self.item[1]), *(("card", card) for card in cards))
        yield from ((way, (value,)) for way, value in ones if value)
        yield from (("wire", wire) for wire in self.wires if wire[1])
        if self.placed[1]:
            yield "placed", self.placed


@dataclass(frozen=True, slots=True)
class Way:
    """How a request may be named: by these columns, and where `only` holds."""

    columns: tuple[ColumnElement[str], ...]
    only: tuple[TextClause, ...] = ()


R = REQUESTS.c
# fmt: off
WAYS: Final[Mapping[str, Way]] = {
    "number": Way((R.id,)),
    "copy":   Way((R.item_barcode,), (IS_OPEN,)),
    "card":   Way((R.patron,), (IS_OPEN,)),
    "wire":   Way((R.wire_agency, R.wire_id)),
    "placed": Way((R.placed_by, R.placed_id)),
}
"""Each is served by an index of its own."""
# fmt: on

_ENDS: Final = list(accumulate(len(how.columns) for how in WAYS.values()))
_CELLS: Final = {way: slice(first, end) for way, first, end in zip(WAYS, [0, *_ENDS], _ENDS, strict=False)}
"""Where the values of each stand in a row that has them all."""

NO_LOCKS = Locks()
LINE = "line"


def take(connection: Connection, wanted: Sequence[Locks]) -> list[set[str]]:
    """Lock all that a group wants until its transaction ends: for each of `wanted`, names and requests. PostgreSQL only."""
    held = [set(one.names()) for one in wanted]
    numbers = sorted({_number(name) for names in held for name in names})
    if numbers:
        _BY_NAME.write(connection, numbers=numbers)
    meant = _meant(wanted)
    _look_up_former(connection, meant)
    if not meant:
        return held
    lock, values = _locking(meant)
    if len(wanted) == 1:  # nobody of its group can mean the same
        lock.write(connection, **values)
        return held
    ways = {way for way, _ in meant}
    for cells in lock.cells(connection, **values):
        for place in _those_who_mean(cells, ways, meant):
            held[place].add(cells[0])
    return held


def try_lines(connection: Connection, lines: Sequence[str]) -> set[str]:
    """Those of the lines that are ours until the transaction ends, without those that another gateway has. PostgreSQL only."""
    tried = _TRY.cells(connection, numbers=[_number(_name(LINE, "", line)) for line in lines])
    return {line for line, (ours,) in zip(lines, tried, strict=True) if ours}


def _meant(wanted: Sequence[Locks]) -> Meant:
    """Which requests are named, how, and by whom."""
    meant: Meant = {}
    for place, one in enumerate(wanted):
        for named in one.requests():
            meant.setdefault(named, []).append(place)
    return meant


def _look_up_former(connection: Connection, meant: Meant) -> None:
    """Who names a RequestId means the request under which a lender was asked so, the present one or a former, by its number."""
    wires = [(value, places) for (way, value), places in meant.items() if way == "wire"]
    if not wires:
        return
    ids = sorted({wire_id for (_, wire_id), _ in wires})
    for wire_id, number in _FORMER.cells(connection, ids=ids):
        named_by = [place for (_, value), places in wires if value == wire_id for place in places]
        meant.setdefault(("number", (number,)), []).extend(named_by)


def _locking(meant: Meant) -> tuple[CompiledStatement, Mapping[str, Any]]:
    """What locks the requests that are named, and its values; it answers the number and all other names of each."""
    values: dict[str, list[str]] = {}
    for way, value in sorted(meant):
        for n, part in enumerate(value):
            values.setdefault(f"{way}_{n}", []).append(part)
    ways = tuple(way for way in WAYS if f"{way}_0" in values)
    if max(map(len, values.values())) > 1:
        return _lock(ways, _is_any_of), values
    return _lock(ways, _is), {name: value for name, (value,) in values.items()}


def _those_who_mean(cells: Sequence[str], ways: Set[str], meant: Meant) -> Iterator[int]:
    """The places of those who name a request, of which these are the number and all other names, in one of these ways."""
    for way in ways:
        yield from meant.get((way, tuple(cells[_CELLS[way]])), ())


def _name(kind: str, agency: str, value: str) -> str:
    return f"{kind} {agency}/{value}"


def _number(name: str) -> int:
    """PostgreSQL locks numbers; two names with one number only wait for each other without need."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


def _is(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    return column == bindparam(name)  # PostgreSQL plans this once, and what asks with a list every time


def _is_any_of(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    return column == any_(bindparam(name, type_=ARRAY(Text)))


@cache
def _lock(ways: tuple[str, ...], fits: Fits) -> CompiledStatement:
    """Requests that are named in these ways, each by an index of its own. Of pairs any with any, which only locks more."""
    named = {way: [fits(column, f"{way}_{n}") for n, column in enumerate(WAYS[way].columns)] for way in ways}
    found = (and_(*all_of, *WAYS[way].only) for way, all_of in named.items())
    columns = [column for way in WAYS.values() for column in way.columns]
    return CompiledStatement(select(*columns).where(or_(*found)).order_by(REQUESTS.c.id).with_for_update(key_share=True))


_FORMER = CompiledStatement(select(CANDIDATES.c.wire_id, CANDIDATES.c.request).where(_is_any_of(CANDIDATES.c.wire_id, "ids")))
_EACH = func.unnest(bindparam("numbers", type_=ARRAY(BigInteger)))
# One by one in the order given: in any other order a lock could meet another gateway's half-way.
_BY_NAME = CompiledStatement(select(func.pg_advisory_xact_lock(_EACH).label("locked")))
_TRY = CompiledStatement(select(func.pg_try_advisory_xact_lock(_EACH).label("ours")))
