"""What a unit of work decides about, and how PostgreSQL keeps two gateways from deciding about it at once.

A whole group locks first what all its units will decide about, always in one order, so that the groups of two gateways wait
for each other and never both: first names (a card, a copy, a RequestId, a document), which may have no row yet or a row in
another system, then the rows of requests. Only what a courier claims is tried for and never waited for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import islice
from typing import Final

from sqlalchemy import ColumnElement, Connection, Text, TextClause, and_, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger

from hkall_gateway.rules.fixed import fixed
from hkall_gateway.store.prepared import Prepared
from hkall_gateway.store.tables import CANDIDATES, IS_OPEN, REQUESTS

Pair = tuple[str, str]
Named = tuple[str, tuple[str, ...]]
Meant = dict[Named, list[int]]
"""What is named, and the places in a group of those who name it."""
NOTHING: Pair = ("", "")


@fixed(frozen=True, slots=True)
class Locks:
    """What a unit of work will decide about; what is empty is not locked.

    `request` is our number, `item` a copy's (agency, barcode), of which the barcode counts. `wires` are RequestIds between
    libraries and `placed` is a discovery system's, each (agency, value). `document` is a key of the inbox. `line` is the one
    to a partner. `whole`: all open requests of the patron too.
    """

    patron: str = ""
    request: str = ""
    item: Pair = NOTHING
    wires: tuple[Pair, ...] = ()
    placed: Pair = NOTHING
    document: Pair = NOTHING
    line: str = ""
    whole: bool = False

    def names(self) -> Iterator[str]:
        """What one gateway at a time decides about, whether there is a row of it or not."""
        named = (
            ("card", ("", self.patron)),
            ("copy", ("", self.item[1])),
            ("document", self.document),
            (LINE, ("", self.line)),
        )
        for kind, (agency, value) in (*named, *(("wire", wire) for wire in self.wires)):
            if value:
                yield _name(kind, agency, value)

    def requests(self) -> Iterator[Named]:
        """The requests that it decides about, as a row of WAYS and its values."""
        ones: dict[str, str] = {"number": self.request, "copy": self.item[1], "card": self.patron if self.whole else ""}
        yield from ((way, (value,)) for way, value in ones.items() if value)
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

NO_LOCKS = Locks()
LINE = "line"


def take(connection: Connection, wanted: Sequence[Locks]) -> list[set[str]]:
    """Lock all that a group wants until its transaction ends: for each of `wanted`, names and requests. PostgreSQL only."""
    held = [set(one.names()) for one in wanted]
    numbers = sorted({_number(name) for names in held for name in names})
    if numbers:
        _BY_NAME.cells(connection, numbers=numbers)
    meant = _meant(wanted)
    _look_up_former(connection, meant)
    for cells in _requests(connection, meant):
        for named in _names_of(cells):
            for place in meant.get(named, ()):
                held[place].add(cells[0])
    return held


def try_line(connection: Connection, line: str) -> bool:
    """Whether the line to a partner is ours until the transaction ends; False at once where another gateway has it."""
    return connection.dialect.name == "sqlite" or bool(_TRY.cells(connection, number=_number(_name(LINE, "", line)))[0][0])


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


def _requests(connection: Connection, meant: Meant) -> list[list[str]]:
    """Lock the requests that are named; the number and all other names of each."""
    values: dict[str, list[str]] = {}
    for way, value in sorted(meant):
        for n, part in enumerate(value):
            values.setdefault(f"{way}_{n}", []).append(part)
    ways = tuple(way for way in WAYS if f"{way}_0" in values)
    return _locking(ways).cells(connection, **values) if ways else []


def _names_of(cells: Sequence[str]) -> Iterator[Named]:
    """A request's cells, which stand in the order of WAYS, as each way would name it."""
    left = iter(cells)
    for way, how in WAYS.items():
        yield way, tuple(islice(left, len(how.columns)))


def _name(kind: str, agency: str, value: str) -> str:
    return f"{kind} {agency}/{value}"


def _number(name: str) -> int:
    """PostgreSQL locks numbers; two names with one number only wait for each other without need."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


def _any_of(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    return column == any_(bindparam(name, type_=ARRAY(Text)))


@cache
def _locking(ways: tuple[str, ...]) -> Prepared:
    """Requests that are named in these ways, each by an index of its own. Of pairs any with any, which only locks more."""
    named = {way: [_any_of(column, f"{way}_{n}") for n, column in enumerate(WAYS[way].columns)] for way in ways}
    found = (and_(*all_of, *WAYS[way].only) for way, all_of in named.items())
    columns = [column for way in WAYS.values() for column in way.columns]
    return Prepared(select(*columns).where(or_(*found)).order_by(REQUESTS.c.id).with_for_update(key_share=True))


_FORMER = Prepared(select(CANDIDATES.c.wire_id, CANDIDATES.c.request).where(_any_of(CANDIDATES.c.wire_id, "ids")))
# One by one in the order given: in any other order a lock could meet another gateway's half-way.
_BY_NAME = Prepared(
    select(func.pg_advisory_xact_lock(func.unnest(bindparam("numbers", type_=ARRAY(BigInteger)))).label("locked"))
)
_TRY = Prepared(select(func.pg_try_advisory_xact_lock(bindparam("number", type_=BigInteger)).label("ours")))
