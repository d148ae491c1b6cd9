"""Queries for messages that may leave: channel by channel, the first unsettled one of each key (request and recipient).

The channels with waiting messages are found by a skip scan of the index that begins with the channel, and rows are read only of
channels that have room: messages for a partner that rests cost no time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, literal_column, or_, select

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.partner_circuit import HOW
from hkall_gateway.db.tables import EARLIER_UNSETTLED, IS_WAITING, LINKS, OUTBOX
from hkall_gateway.rules.circuit import DOWN, CircuitState

MAIL: Final = "mail"
"""The channel of all patron letters."""
Room = Callable[[CircuitState, int], int]
"""Returns how many more messages may leave by a channel, given the number in delivery."""

_ROWS = OUTBOX.c
_NOW: Any = bindparam("now", type_=_ROWS.next_at.type)
_EARLIER = OUTBOX.alias("earlier")
# Each key is looked up separately (OFFSET 0) and by its request (BETWEEN: PostgreSQL always estimates a range as
# small). With its statistics, perhaps taken when there were few rows, it would join everything, or scan the numbers.
_SAME_KEY = and_(_EARLIER.c.request.between(_ROWS.request, _ROWS.request), _EARLIER.c.recipient == _ROWS.recipient)
_HOLDING = select(_EARLIER.c.id).where(_SAME_KEY, _EARLIER.c.id < _ROWS.id, EARLIER_UNSETTLED)
_IS_FIRST = ~_HOLDING.offset(literal_column("0")).exists()
_IS_FREE = or_(_ROWS.lease_until.is_(None), _ROWS.lease_until < _NOW)

_JUMP = select(func.min(_ROWS.line).label("line")).where(IS_WAITING)
_BEGUN = _JUMP.cte("lines", recursive=True)
_LINES = _BEGUN.union_all(select(_JUMP.where(_ROWS.line > _BEGUN.c.line).scalar_subquery()).where(_BEGUN.c.line.is_not(None)))
_LINKED = _LINES.outerjoin(LINKS, LINKS.c.agency == _LINES.c.line)
_ON_IT = and_(IS_WAITING, _ROWS.line == _LINES.c.line)
_FIRST_AT = select(func.min(_ROWS.next_at)).where(_ON_IT).scalar_subquery()
_FIRST_OF_KEY = select(_ROWS.next_at).where(_ON_IT, _IS_FIRST).order_by(_ROWS.next_at, _ROWS.id).limit(literal_column("1"))

DUE_LINES = CompiledStatement(
    select(_LINES.c.line, *HOW).select_from(_LINKED).where(_FIRST_AT <= _NOW).order_by(_FIRST_AT, _LINES.c.line)
)
"""The channels with due messages, the longest waiting first (then by name), and their state."""

DUE = CompiledStatement(
    select(OUTBOX)
    .where(IS_WAITING, _ROWS.line == bindparam("of"), _ROWS.next_at <= _NOW, _IS_FREE, _IS_FIRST)
    .order_by(_ROWS.next_at, _ROWS.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
"""The first `most` rows of a channel that may leave now. On PostgreSQL they stay locked until the transaction ends."""

NEXT = CompiledStatement(select(_FIRST_OF_KEY.scalar_subquery().label("next_at"), LINKS.c.rests_until).select_from(_LINKED))
"""For each channel, when the first message of a key is due and until when the channel rests."""

_SINCE: Any = bindparam("since", type_=_ROWS.next_at.type)
_QUIET = and_(*(or_(at.is_(None), at <= _SINCE) for at in (LINKS.c.heard_at, LINKS.c.rests_until)))
STALLED = CompiledStatement(
    select(_LINES.c.line)
    .select_from(_LINKED)
    .where(_FIRST_OF_KEY.scalar_subquery() <= _SINCE, func.coalesce(LINKS.c.state, "") != DOWN, _QUIET)
    .order_by(_LINES.c.line)
)
"""The channels that count as up, where a message has been due since `since` and no answer has come since."""

UNDER_WAY = CompiledStatement(
    select(_ROWS.line, func.count().label("count")).where(_ROWS.lease_until >= _NOW).group_by(_ROWS.line)
)
