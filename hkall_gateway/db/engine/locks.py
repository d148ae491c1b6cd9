"""Lock the objects that a unit of work decides about, so that two gateways on PostgreSQL do not decide at the same time.

A group first takes the locks of all its units, always in the same order, so that two gateways never deadlock. Advisory locks
by name (a card, a copy, a RequestId, a document) come first, because these objects may not have a row in this database. Row
locks on requests follow. Only the locks of channels that a courier claims are tried without waiting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from sqlalchemy import ARRAY, ColumnElement, Connection, Text, TextClause, and_, any_, bindparam, func, or_, select
from sqlalchemy.types import BigInteger

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.tables import CANDIDATES, IS_OPEN, REQUESTS

SNAPSHOT: Final = "snapshot"
"""Key in `Connection.info`, true during a read-only snapshot, in which PostgreSQL cannot lock rows."""

Pair = tuple[str, str]
Named = tuple[str, tuple[str, ...]]
Fits = Callable[[ColumnElement[str], str], ColumnElement[bool]]
"""Builds a condition from a column and the name of a parameter."""
NOTHING: Pair = ("", "")


class LockSet(NamedTuple):
    """The objects that a unit of work decides about. Empty fields are not locked.

    Attributes:
        request: Our request number.
        item: (agency, barcode) of a copy. Only the barcode is locked.
        partner_ids: (agency, value) of RequestIds used between libraries.
        placed: (agency, value) of the RequestId of a discovery system.
        document: (agency, digest) of a document in the inbox.
        channel: Recipient of messages in the outbox.
        whole: Whether to lock all open requests of `patron` and `former`, too.
        former: Card that was replaced by the card `patron`.
        title: Title whose copies are prefetched. It is not locked.
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
    title: str = ""

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
        """Yield (key of WAYS, values to match) for each request to lock."""
        cards = (self.patron, self.former) if self.whole else ()
        ones = (("number", self.request), ("copy", self.item[1]), *(("card", card) for card in cards))
        yield from ((way, (value,)) for way, value in ones if value)
        yield from (("wire", partner_id) for partner_id in self.partner_ids if partner_id[1])
        if self.placed[1]:
            yield "placed", self.placed


@dataclass(frozen=True, slots=True)
class LockKey:
    """The columns that identify a request, among the rows that satisfy `only`."""

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
"""Ways to find a request to lock. Each uses a separate index."""
# fmt: on

CHANNEL = "line"


def unlocked(reason: str) -> LockSet:
    """Return the empty lock set of a unit that needs no locks, for example because its only statement is atomic.

    Args:
        reason: Why no other gateway or command can spoil the unit. It is for the reader of the code.
    """
    assert reason, "a unit without locks needs a reason"
    return LockSet()


def take(connection: Connection, wanted: Sequence[LockSet]) -> None:
    """Lock all objects that a group needs until its transaction ends. PostgreSQL only."""
    numbers = sorted({_lock_number(name) for one in wanted for name in one.names()})
    if numbers:
        _BY_NAME.write(connection, numbers=numbers)
    meant = {named for one in wanted for named in one.requests()}
    if ids := sorted({value[1] for way, value in meant if way == "wire"}):
        # Add the requests that were sent to a current or former lender under one of these RequestIds.
        meant |= {("number", (number,)) for (number,) in _FORMER.cells(connection, ids=ids)}
    if meant:
        lock, values = _row_lock(meant)
        lock.write(connection, **values)


def try_channels(connection: Connection, channels: Sequence[str]) -> set[str]:
    """Try to lock channels until the transaction ends, and return the locked channels. PostgreSQL only."""
    tried = _TRY.cells(connection, numbers=[_lock_number(_lock_name(CHANNEL, "", channel)) for channel in channels])
    return {channel for channel, (ours,) in zip(channels, tried, strict=True) if ours}


def _row_lock(meant: Set[Named]) -> tuple[CompiledStatement, Mapping[str, Any]]:
    """Return the statement that locks the requests in `meant`, and its parameters."""
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
    return column == bindparam(name)  # PostgreSQL caches this plan, but plans a condition with a list every time


def _is_any_of(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    return column == any_(bindparam(name, type_=ARRAY(Text)))


@cache
def _row_lock_statement(ways: tuple[str, ...], fits: Fits) -> CompiledStatement:
    """Return a statement that locks the requests found in any of `ways`, each by its own index.

    It combines every first value of a pair with every second value, so it may lock more rows than needed.
    """
    named = {way: [fits(column, f"{way}_{n}") for n, column in enumerate(WAYS[way].columns)] for way in ways}
    found = (and_(*all_of, *WAYS[way].only) for way, all_of in named.items())
    return CompiledStatement(select(REQUESTS.c.id).where(or_(*found)).order_by(REQUESTS.c.id).with_for_update(key_share=True))


_FORMER = CompiledStatement(select(CANDIDATES.c.request).where(_is_any_of(CANDIDATES.c.wire_id, "ids")))
_EACH = func.unnest(bindparam("numbers", type_=ARRAY(BigInteger)))
# PostgreSQL takes the locks in the order of the array. In any other order two gateways could deadlock.
_BY_NAME = CompiledStatement(select(func.pg_advisory_xact_lock(_EACH).label("locked")))
_TRY = CompiledStatement(select(func.pg_try_advisory_xact_lock(_EACH).label("ours")))
