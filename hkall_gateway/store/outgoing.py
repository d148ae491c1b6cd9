"""Which messages may leave: of each lane (one request, one recipient) the first that is not settled, if it is due and free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from sqlalchemy import and_, bindparam, case, exists, func, or_, select

from hkall_gateway.store.prepared import Prepared
from hkall_gateway.store.tables import EARLIER_UNSETTLED, IS_WAITING, LINKS, OUTBOX

MAIL: Final = "mail"
"""What stands for all patrons together where letters are counted or held back."""
Found = Mapping[str, Any]
"""A row as the database has it."""
Room = Callable[[str, int], int]
"""How many more may leave by a line, where so many are under way."""

_EARLIER = OUTBOX.alias("earlier")
_SAME_LANE = and_(_EARLIER.c.request == OUTBOX.c.request, _EARLIER.c.recipient == OUTBOX.c.recipient)
_IS_FIRST = ~exists().where(_SAME_LANE, _EARLIER.c.id < OUTBOX.c.id, EARLIER_UNSETTLED)
LINE = case((OUTBOX.c.kind == MAIL, MAIL), else_=OUTBOX.c.recipient)
UNDER_WAY = Prepared(
    select(LINE.label("line"), func.count().label("count"))
    .where(OUTBOX.c.lease_until >= bindparam("now", type_=OUTBOX.c.lease_until.type))
    .group_by(LINE)
)


@cache
def due(full: tuple[str, ...], shared: bool) -> Prepared:
    """The first row of each lane that may leave now; none for the lines named by `full`. `shared`: others claim beside us."""
    now = OUTBOX.c.next_at <= bindparam("now")
    free = or_(OUTBOX.c.lease_until.is_(None), OUTBOX.c.lease_until < bindparam("now"))
    elsewhere = (bindparam(name) != LINE for name in full)
    found = select(OUTBOX).where(IS_WAITING, now, free, _IS_FIRST, *elsewhere)
    found = found.order_by(OUTBOX.c.next_at, OUTBOX.c.id).limit(bindparam("most"))
    return Prepared(found.with_for_update(skip_locked=True) if shared else found)


NEXT = Prepared(
    select(OUTBOX.c.next_at, LINKS.c.rests_until)
    .select_from(OUTBOX.outerjoin(LINKS, and_(LINKS.c.agency == OUTBOX.c.recipient, OUTBOX.c.kind != MAIL)))
    .where(IS_WAITING, _IS_FIRST)
)


def with_room(room: Room, found: Sequence[Found], under_way: Mapping[str, int]) -> list[Found]:
    """The first of these rows on each line, as many as there is room for. What they tell is not read before they are taken."""
    taken = Counter(under_way)
    kept = []
    for row in found:
        line = line_of(row)
        if room(line, taken[line]) > 0:
            taken[line] += 1
            kept.append(row)
    return kept


def line_of(found: Found) -> str:
    """What a row travels on: the line to its partner, or the mail."""
    return MAIL if found["kind"] == MAIL else str(found["recipient"])
