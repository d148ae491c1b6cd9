"""What a unit of work decides about, and how PostgreSQL keeps two gateways from deciding about it at once.

A whole group locks first what all its units will decide about, always in one order, so that the groups of two gateways wait
for each other and never both: first names (a card, a copy, a RequestId, a document), which may have no row yet or a row in
another system, then the rows of requests. Only what a courier claims is tried for and never waited for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import BigInteger

from hkall_gateway.store.prepared import Prepared
from hkall_gateway.store.tables import CANDIDATES, IS_OPEN, REQUESTS

Pair = tuple[str, str]
NOTHING: Pair = ("", "")


@dataclass(frozen=True, slots=True)
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


NO_LOCKS = Locks()
LINE = "line"


def take(connection: Connection, wanted: Sequence[Locks]) -> None:
    """Lock everything that a group wants, until its transaction ends. PostgreSQL only."""
    names = {name for one in wanted for name in one.names()}
    if names:
        connection.execute(_BY_NAME, {"numbers": sorted(map(_number, names))})
    wires = _pairs(wire for one in wanted for wire in one.wires)
    asked = _asked_under(connection, wires) if wires else []
    meant = _meant(wanted, wires, asked)
    if meant:
        rows = select(REQUESTS.c.id).where(or_(*meant)).order_by(REQUESTS.c.id).with_for_update(key_share=True)
        connection.execute(rows)


def try_line(connection: Connection, line: str) -> bool:
    """Whether the line to a partner is ours until the transaction ends; False at once where another gateway has it."""
    return connection.dialect.name == "sqlite" or bool(_TRY.cells(connection, number=_number(_name(LINE, "", line)))[0][0])


def _asked_under(connection: Connection, wires: Sequence[Pair]) -> list[str]:
    """The numbers of requests that a lender, the present one or a former, was asked under these RequestIds."""
    question = select(CANDIDATES.c.request).where(CANDIDATES.c.wire_id.in_(_given(value for _, value in wires)))
    return list(connection.execute(question).scalars())


def _meant(wanted: Sequence[Locks], wires: Sequence[Pair], asked: Sequence[str]) -> list[ColumnElement[bool]]:
    """The requests that are named, each way of naming one by an index of its own."""
    numbers, barcodes = _given([*asked, *(one.request for one in wanted)]), _given(one.item[1] for one in wanted)
    cards, placed = _given(one.patron for one in wanted if one.whole), _pairs(one.placed for one in wanted)
    found: list[ColumnElement[bool]] = [REQUESTS.c.id.in_(numbers)] if numbers else []
    found += [and_(REQUESTS.c.item_barcode.in_(barcodes), IS_OPEN)] if barcodes else []
    found += [and_(REQUESTS.c.patron.in_(cards), IS_OPEN)] if cards else []
    found += [tuple_(REQUESTS.c.wire_agency, REQUESTS.c.wire_id).in_(wires)] if wires else []
    found += [tuple_(REQUESTS.c.placed_by, REQUESTS.c.placed_id).in_(placed)] if placed else []
    return found


def _given(values: Iterable[str]) -> list[str]:
    return sorted({value for value in values if value})


def _pairs(values: Iterable[Pair]) -> list[Pair]:
    return sorted({pair for pair in values if pair[1]})


def _name(kind: str, agency: str, value: str) -> str:
    return f"{kind} {agency}/{value}"


def _number(name: str) -> int:
    """PostgreSQL locks numbers; two names with one number only wait for each other without need."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), signed=True)


# One by one in the order given: in any other order a lock could meet another gateway's half-way.
_BY_NAME = select(func.pg_advisory_xact_lock(func.unnest(bindparam("numbers", type_=ARRAY(BigInteger)))))
_TRY = Prepared(select(func.pg_try_advisory_xact_lock(bindparam("number", type_=BigInteger)).label("ours")))
