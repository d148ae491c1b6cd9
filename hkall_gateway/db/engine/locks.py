"""Lock what a unit of work decides about, so that two gateways on PostgreSQL do not decide at the same time.

A group first takes the locks of all its units, always in one order, so that two gateways never deadlock: first advisory locks
by name (a card, a copy, a RequestId, a document), for objects that may have no row yet or a row in another system, then row
locks on requests. Only the channels that a courier claims are tried without waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, Final

from sqlalchemy import ARRAY, ColumnElement, Connection, Text, TextClause, and_, any_, bindparam, func, or_, select
from sqlalchemy.types import BigInteger

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.tables import CANDIDATES, IS_OPEN, REQUESTS

SNAPSHOT: Final = "snapshot"
"""The key of a connection's `info` that is true while it reads in a snapshot, where PostgreSQL locks no rows."""

Pair = tuple[str, str]
Named = tuple[str, tuple[str, ...]]
Fits = Callable[[ColumnElement[str], str], ColumnElement[bool]]
"""Makes a condition of a column and a parameter's name."""
NOTHING: Pair = ("", "")


@dataclass(frozen=True, slots=True)
class LockSet:
    """The objects that a unit of work decides about. Empty fields are not locked.

    `request` is our number, and `item` is (agency, barcode), of which only the barcode is locked. `partner_ids` are RequestIds
    between libraries and `placed` is a discovery system's, each (agency, value). `document` is a key of the inbox, `channel` a
    recipient of the outbox. `whole` adds all open requests of the patron, and `former` is a card that `patron` replaces.
    """

    patron: str = ""
    request: str = ""
    item: Pair = NOTHING
    partner_ids: tuple[Pair, ...] = ()
    placed: Pair = NOTHING
    document: Pair = NOTHING
    channel: str = ""
    whole: bool = False
    former: str = ""

    def names(self) -> Iterator[str]:
        """Yield the names of the advisory locks, whether or not the objects have rows."""
        named = (
            ("card", ("", self.patron)),
            ("card", ("", self.former)),
            ("copy", ("", self.item[1])),
            ("document", self.document),
            (CHANNEL, ("", self.channel)),
        )
        for kind, (agency, value) in (*named, *(("wire", partner_id) for partner_id in self.partner_ids)):
            if value:
                yield _lock_name(kind, agency, value)

    def requests(self) -> Iterator[Named]:
        """Yield the requests to lock, each as a key of WAYS and its values."""
        cards = (self.patron, self.former) if self.whole else ()
        ones = (("number", self.request), ("copy", self.item[1]), *(("card", card) for card in cards))
        yield from ((way, (value,)) for way, value in ones if value)
        yield from (("wire", partner_id) for partner_id in self.partner_ids if partner_id[1])
        if self.placed[1]:
            yield "placed", self.placed


@dataclass(frozen=True, slots=True)
class LockKey:
    """The columns that identify a request in one way, among the rows that satisfy `only`."""

    columns: tuple[ColumnElement[str], ...]
    only: tuple[TextClause, ...] = ()


R = REQUESTS.c
# fmt: off
WAYS: Final[Mapping[str, LockKey]] = {
    "number": LockKey((R.id,)),
    "copy":   LockKey((R.item_barcode,), (IS_OPEN,)),
    "card":   LockKey((R.patron,), (IS_OPEN,)),
    "wire":   LockKey((R.wire_agency, R.wire_id)),
    "placed": LockKey((R.placed_by, R.placed_id)),
}
"""Each is served by an index of its own."""
# fmt: on

NO_LOCKS = LockSet()
CHANNEL = "line"


def take(connection: Connection, wanted: Sequence[LockSet]) -> None:
    """Lock all objects that a group needs until its transaction ends. PostgreSQL only."""
    numbers = sorted({_lock_number(name) for one in wanted for name in one.names()})
    if numbers:
        _BY_NAME.write(connection, numbers=numbers)
    meant = {named for one in wanted for named in one.requests()}
    if ids := sorted({value[1] for way, value in meant if way == "wire"}):
        # The requests for which a lender was asked under one of these RequestIds, now or formerly.
        meant |= {("number", (number,)) for (number,) in _FORMER.cells(connection, ids=ids)}
    if meant:
        lock, values = _row_lock(meant)
        lock.write(connection, **values)


def try_channels(connection: Connection, channels: Sequence[str]) -> set[str]:
    """Lock the channels that no other gateway has locked until the transaction ends, and return them. PostgreSQL only."""
    tried = _TRY.cells(connection, numbers=[_lock_number(_lock_name(CHANNEL, "", channel)) for channel in channels])
    return {channel for channel, (ours,) in zip(channels, tried, strict=True) if ours}


def _row_lock(meant: Set[Named]) -> tuple[CompiledStatement, Mapping[str, Any]]:
    """Return the statement that locks the named requests, and its values."""
    values: dict[str, list[str]] = {}
    for way, value in sorted(meant):
        for n, part in enumerate(value):
            values.setdefault(f"{way}_{n}", []).append(part)
    ways = tuple(way for way in WAYS if f"{way}_0" in values)
    if max(map(len, values.values())) > 1:
        return _row_lock_statement(ways, _is_any_of), values
    return _row_lock_statement(ways, _is), {name: value for name, (value,) in values.items()}


def _lock_name(kind: str, agency: str, value: str) -> str:
    return f"{kind} {agency}/{value}"


def _lock_number(name: str) -> int:
    """Return the number that PostgreSQL locks for a name. A collision only causes an unnecessary wait."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


def _is(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    return column == bindparam(name)  # PostgreSQL plans this once, but a condition with a list every time


def _is_any_of(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    return column == any_(bindparam(name, type_=ARRAY(Text)))


@cache
def _row_lock_statement(ways: tuple[str, ...], fits: Fits) -> CompiledStatement:
    """Return a statement that locks requests in these ways, each by its own index.

    It combines any first value of a pair with any second one, which locks more rows than needed.
    """
    named = {way: [fits(column, f"{way}_{n}") for n, column in enumerate(WAYS[way].columns)] for way in ways}
    found = (and_(*all_of, *WAYS[way].only) for way, all_of in named.items())
    return CompiledStatement(select(REQUESTS.c.id).where(or_(*found)).order_by(REQUESTS.c.id).with_for_update(key_share=True))


_FORMER = CompiledStatement(select(CANDIDATES.c.request).where(_is_any_of(CANDIDATES.c.wire_id, "ids")))
_EACH = func.unnest(bindparam("numbers", type_=ARRAY(BigInteger)))
# One by one in the order given: in any other order a lock could meet another gateway's half-way.
_BY_NAME = CompiledStatement(select(func.pg_advisory_xact_lock(_EACH).label("locked")))
_TRY = CompiledStatement(select(func.pg_try_advisory_xact_lock(_EACH).label("ours")))
