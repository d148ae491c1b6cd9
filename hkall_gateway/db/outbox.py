"""Repository of the outbox: put, claim and settle messages. Messages of one key (request and recipient) are sent in order."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, Final

from sqlalchemy import and_, bindparam, case, delete, func, literal_column, or_, select, true, update

from hkall_gateway.db.directory import HOW, circuit_of
from hkall_gateway.db.engine.compiled import CompiledStatement, insert_row
from hkall_gateway.db.engine.locks import try_channels
from hkall_gateway.db.tables import ATTEMPTS, EARLIER_UNSETTLED, IS_DEAD, IS_WAITING, LINKS, OUTBOX, Condition
from hkall_gateway.db.transaction import Repository
from hkall_gateway.rules.circuit import DOWN, CircuitState
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.json_records import from_json, to_json
from hkall_gateway.rules.messages.outbox_messages import ILS_RECIPIENT, LocalMessage, LocalSend, PartnerMessage, PatronNotice
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxKind, OutboxState

# For each key (request and recipient) only the first unsettled message may leave. A skip scan of the index that begins with the
# channel finds the channels with waiting messages, and rows are read only for channels with room. So messages for a partner
# whose channel is paused take no time.


MAIL: Final = "mail"
"""The channel of all patron letters."""
Room = Callable[[CircuitState, int], int]
"""Returns how many more messages may leave by a channel, given its state and its number of messages in delivery."""

M = OUTBOX.c  # messages
_NOW = bindparam("now", type_=M.next_at.type)
_EARLIER = OUTBOX.alias("earlier")
# OFFSET 0 makes PostgreSQL look up each key separately. BETWEEN makes it use the index of requests, because it always estimates
# a range as small. With outdated statistics it would otherwise join all rows, or scan the index of numbers.
_SAME_KEY = and_(_EARLIER.c.request.between(M.request, M.request), _EARLIER.c.recipient == M.recipient)
_HOLDING = select(_EARLIER.c.id).where(_SAME_KEY, _EARLIER.c.id < M.id, EARLIER_UNSETTLED)
_IS_FIRST = ~_HOLDING.offset(literal_column("0")).exists()
_IS_FREE = or_(M.lease_until.is_(None), M.lease_until < _NOW)

_JUMP = select(func.min(M.line).label("line")).where(IS_WAITING)
_BEGUN = _JUMP.cte("lines", recursive=True)
_LINES = _BEGUN.union_all(select(_JUMP.where(M.line > _BEGUN.c.line).scalar_subquery()).where(_BEGUN.c.line.is_not(None)))
_LINKED = _LINES.outerjoin(LINKS, LINKS.c.agency == _LINES.c.line)
_ON_IT = and_(IS_WAITING, M.line == _LINES.c.line)
_FIRST_AT = select(func.min(M.next_at)).where(_ON_IT).scalar_subquery()
_FIRST_OF_KEY = select(M.next_at).where(_ON_IT, _IS_FIRST).order_by(M.next_at, M.id).limit(literal_column("1"))

DUE_LINES = CompiledStatement(
    select(_LINES.c.line, *HOW).select_from(_LINKED).where(_FIRST_AT <= _NOW).order_by(_FIRST_AT, _LINES.c.line)
)
"""The channels with due messages and their state, longest waiting first, then by name."""

DUE = CompiledStatement(
    select(OUTBOX)
    .where(IS_WAITING, M.line == bindparam("of"), M.next_at <= _NOW, _IS_FREE, _IS_FIRST)
    .order_by(M.next_at, M.id)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True)
)
"""The first `most` rows of a channel that may leave now. On PostgreSQL they stay locked until the transaction ends."""

NEXT = CompiledStatement(select(_FIRST_OF_KEY.scalar_subquery().label("next_at"), LINKS.c.rests_until).select_from(_LINKED))
"""For each channel, the time when its next message is due and the time until which the channel is paused."""

_SINCE = bindparam("since", type_=M.next_at.type)
_QUIET = and_(*(or_(at.is_(None), at <= _SINCE) for at in (LINKS.c.heard_at, LINKS.c.rests_until)))
STALLED = CompiledStatement(
    select(_LINES.c.line)
    .select_from(_LINKED)
    .where(_FIRST_OF_KEY.scalar_subquery() <= _SINCE, func.coalesce(LINKS.c.state, "") != DOWN, _QUIET)
    .order_by(_LINES.c.line)
)
"""The channels that count as up although a message has been due since `since` and no reply has come."""

UNDER_WAY = CompiledStatement(select(M.line, func.count().label("count")).where(M.lease_until >= _NOW).group_by(M.line))

SET_ASIDE_S: Final = 60
"""Seconds for which an unreadable row is skipped, so that it does not block its channel."""
UNREADABLE: Final = "this version of the program cannot read it"
STALLED_S: Final = 300
"""Seconds after which a due, unsent message on a channel without replies is a fault. They allow for several polls and a try."""

WAITING: Final = (OutboxState.WAITING, OutboxState.UNSURE)
Payload = PartnerMessage | PatronNotice | LocalMessage
UNSETTLED: Final = (*WAITING, OutboxState.DEAD)
SETTLED: Final = frozenset(OutboxState) - frozenset(UNSETTLED)
_INDEXED: Final = {**dict.fromkeys(WAITING, IS_WAITING), OutboxState.DEAD: IS_DEAD}
"""Conditions of the partial indexes for unsettled rows, by state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """A message to send.

    Attributes:
        line: Name of the channel: the partner's agency, or "mail" for all letters.
        request: Number of the request concerned, or another key by which messages are kept in order.
        attempts: Number of tries, including the current try of a claimed row.
    """

    id: int
    kind: OutboxKind
    send: Notification | LocalSend
    recipient: str
    line: str
    request: str
    payload: Payload
    corr: str
    state: OutboxState
    made_at: datetime
    next_at: datetime
    attempts: int
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try to send a row, with the `kind` and `problem` of its DeliveryResult."""

    at: datetime
    kind: DeliveryKind
    problem: str
    detail: str


class NewerRow(Exception):
    """A row is unreadable, because a newer version wrote an unknown message or field, or because the row is corrupt."""


def _unlimited_room(_link: CircuitState, _under_way: int) -> int:
    return 1_000_000


class Outbox(Repository):
    """Reads and writes the outbox inside a unit of work."""

    def put(self, send: Notification | LocalSend, payload: Payload, corr: str, now: datetime) -> None:
        """Queue a message, which the courier sends after the commit."""
        match payload:
            case LocalMessage():
                kind, recipient, request = OutboxKind.ILS, ILS_RECIPIENT, payload.ordering_key
            case PatronNotice():
                kind, recipient, request = OutboxKind.MAIL, payload.patron, payload.request
            case PartnerMessage():
                kind, recipient, request = OutboxKind.NCIP, payload.partner, payload.request
        row = {"kind": kind.value, "send": send.value, "recipient": recipient, "request": request, "corr": corr}
        state, message = OutboxState.WAITING.value, to_json(payload)
        _PUT.append(self._connection, **row, payload=message, state=state, made_at=now, next_at=now)

    def claim(
        self,
        now: datetime,
        instance: str,
        lease_s: int,
        limit: int,
        room: Room = _unlimited_room,
        in_hand: Collection[int] = (),
    ) -> tuple[OutboxRow, ...]:
        """Claim the oldest unsent rows that are due, at most `limit`, leased to `instance` for `lease_s` seconds.

        Channels that have waited longest come first. At most `room(link, under_way)` rows of each channel are claimed, where
        `under_way` counts its rows in delivery by all gateways. A row with an expired lease belonged to a failed gateway, so it
        is claimed again as possibly delivered. Rows in `in_hand` are excluded, because this gateway is still delivering them.
        Unreadable rows are skipped for SET_ASIDE_S seconds, so that they do not block their channel.
        """
        taken: list[tuple[OutboxRow, str]] = []
        for line, most in self._free_channels(room, now):
            if len(taken) < limit:
                found = self._due_rows(line, now, min(most, limit - len(taken)))
                taken += [(row, before) for row, before in found if row.id not in in_hand]
        if not taken:
            return ()
        self.interrupted([row.id for row, before in taken if before], now)
        until = now + timedelta(seconds=lease_s)
        for row, _ in taken:
            _LEASE.append(self._connection, number=row.id, who=instance, until=until)
        return tuple(row for row, _ in taken)

    def _due_rows(self, line: str, now: datetime, most: int) -> list[tuple[OutboxRow, str]]:
        """Return (due row, gateway that had claimed the row before) for a channel. Postpone unreadable rows."""
        while True:
            found = DUE.rows(self._connection, of=line, now=now, most=most)
            read = [(_readable_row(row), row["claimed_by"]) for row in found]
            unreadable = [row["id"] for row, (understood, _) in zip(found, read, strict=True) if understood is None]
            if not unreadable:
                return [(row, before) for row, before in read if row]
            import structlog  # imported late, because most commands load this module but never log

            structlog.get_logger().warning("outbox.unreadable", channel=line, rows=unreadable)
            later = {"next_at": now + timedelta(seconds=SET_ASIDE_S), "last_error": UNREADABLE}
            self._connection.execute(update(OUTBOX).where(M.id.in_(unreadable)).values(**later))

    def bring_forward(self, now: datetime) -> None:
        """Make all waiting rows due now, after the clock was set back."""
        early = (M.state.in_(WAITING), M.lease_until.is_(None), M.next_at > now)
        self._connection.execute(update(OUTBOX).where(*early).values(next_at=now))

    def under_way(self, now: datetime) -> Mapping[str, int]:
        """Count the rows that any gateway is delivering now, by channel."""
        return {row["line"]: row["count"] for row in UNDER_WAY.rows(self._connection, now=now)}

    def stalled(self, now: datetime) -> frozenset[str]:
        """Return the channels that are up but send no messages, which indicates a fault in this program."""
        since = now - timedelta(seconds=STALLED_S)
        return frozenset(line for (line,) in STALLED.cells(self._connection, since=since))

    def held_by(self, instance: str) -> int:
        """Count the rows that a gateway has claimed."""
        held = select(func.count()).where(M.lease_until.is_not(None), M.claimed_by == instance)
        return int(self._connection.execute(held).scalar_one())

    def _free_channels(self, room: Room, now: datetime) -> list[tuple[str, int]]:
        """Return (channel, room) for each channel that has due rows and from which no other gateway is claiming rows.

        The rows in delivery are counted again once the channels are locked, because until then other gateways may claim rows.
        """
        links = [circuit_of(*cells) for cells in DUE_LINES.cells(self._connection, now=now)]
        found = self._count_room(links, room, now)
        if not found or self._transaction.dialect == "sqlite":
            return found
        ours = try_channels(self._connection, [line for line, _ in found])
        return self._count_room([link for link in links if link.agency in ours], room, now)

    def _count_room(self, links: Iterable[CircuitState], room: Room, now: datetime) -> list[tuple[str, int]]:
        under_way = self.under_way(now)
        rooms = ((link.agency, room(link, under_way.get(link.agency, 0))) for link in links)
        return [(line, most) for line, most in rooms if most > 0]

    def mark_sent(self, row: int, now: datetime) -> None:
        """Mark a row as sent. The next row of its key may leave."""
        self._release_row(row, state=OutboxState.SENT, sent_at=now, last_error="")

    def retry_later(self, row: int, next_at: datetime, error: str, *, unsure: bool = False, counted: bool = True) -> None:
        """Record a failed try, and schedule the next try.

        An `unsure` message may have arrived, and stays unsure until the recipient replies. A try that failed because of the
        channel is not `counted` as an attempt of the row.
        """
        state = {"state": OutboxState.UNSURE} if unsure else {}
        self._release_row(row, 1 if counted else 0, next_at=next_at, last_error=error[:500], **state)

    def mark_dead(self, row: int, error: str) -> None:
        """Give up on a row after too many attempts. Later rows with the same key wait until staff act."""
        self._release_row(row, state=OutboxState.DEAD, last_error=error[:500])

    def mark_dropped(self, row: int, error: str) -> None:
        """Drop a row after too many tries, because its purpose was met in another way."""
        self._release_row(row, state=OutboxState.DROPPED, last_error=error[:500])

    def record_attempt(self, row: int, attempt: Attempt) -> None:
        """Record the result of one try."""
        texts = {"kind": attempt.kind.value, "problem": attempt.problem[:200], "detail": attempt.detail[:500]}
        _TRIED.append(self._connection, row=row, at=attempt.at, **texts)

    def attempts(self, row: int) -> tuple[Attempt, ...]:
        """Return the results of all tries of a row, oldest first."""
        a = ATTEMPTS.c
        found = self._transaction.execute(select(a.at, a.kind, a.problem, a.detail).where(a.row == row).order_by(a.id))
        return tuple(
            Attempt(at=at, kind=DeliveryKind(kind), problem=problem, detail=detail) for at, kind, problem, detail in found
        )

    def claim_inline(self, row: int, until: datetime) -> None:
        """Claim a row for immediate delivery. If no result comes by `until`, the courier retries it as possibly delivered."""
        self._release_row(row, 0, state=OutboxState.UNSURE, next_at=until)

    def release_inline(self, row: int, now: datetime, *, unsure: bool) -> bool:
        """Return a row to the courier, marked as possibly delivered if `unsure`. Return False if the row is already settled."""
        found = self.row_state(row)
        if found is None or found[0] not in WAITING:
            return False
        self._release_row(row, 0, state=OutboxState.UNSURE if unsure else OutboxState.WAITING, next_at=now)
        return True

    def forget(self, row: int) -> None:
        """Delete the row if the courier has never tried to send it, else mark it as done."""
        if self._connection.execute(delete(OUTBOX).where(_NEVER_TRIED, M.id == row)).rowcount == 0:
            self._release_row(row, 0, state=OutboxState.DONE)

    def defer(self, row: int, until: datetime, now: datetime) -> bool:
        """Retry the row no earlier than `until`. Return False if it is settled or in delivery."""
        return self._change_idle_row(row, now, next_at=until)

    def retry(self, row: int, now: datetime) -> bool:
        """Retry a row at once on behalf of staff, and reset its attempts. Return False if it is settled or in delivery."""
        unknown = any(one.kind == DeliveryKind.UNKNOWN for one in self.attempts(row))
        revived = OutboxState.UNSURE if unknown else OutboxState.WAITING
        state = case((M.state == OutboxState.DEAD, revived), else_=M.state)
        return self._change_idle_row(row, now, state=state, next_at=now, attempts=0)

    def close(self, row: int, state: OutboxState, reason: str, now: datetime) -> bool:
        """Settle a row on behalf of staff as `done` or `dropped`. Return False if it is settled or in delivery."""
        return self._change_idle_row(row, now, state=state, last_error=reason[:500])

    def _change_idle_row(self, row: int, now: datetime, **values: object) -> bool:
        """Change an unsettled row. Return False if the row is settled or in delivery."""
        # If the lease has expired, the gateway that claimed the row has failed, and may have sent the message.
        gone = select(M.id).where(M.id == row, M.lease_until < now)
        self.interrupted(self._transaction.execute(gone).scalars().all(), now)
        free = (M.id == row, M.state.in_(UNSETTLED), M.lease_until.is_(None))
        return self._connection.execute(update(OUTBOX).where(*free).values(**values)).rowcount == 1

    def give_back(self, rows: Sequence[int]) -> None:
        """Release claimed rows at once, as if they had not been claimed."""
        if rows:
            self._connection.execute(update(OUTBOX).where(M.id.in_(rows)).values(claimed_by="", lease_until=None))

    def release(self, instance: str, now: datetime, in_hand: Sequence[int] = ()) -> None:
        """Release the rows that `instance` had claimed before it failed, except the rows `in_hand`."""
        lost = (M.lease_until.is_not(None), M.claimed_by == instance, M.id.not_in(in_hand))
        self.interrupted(self._connection.execute(select(M.id).where(*lost)).scalars().all(), now)

    def interrupted(self, rows: Sequence[int], now: datetime) -> None:
        """Release rows of a gateway that ended during delivery, as unsure: it is unknown whether they were sent."""
        for row in sorted(rows):
            self._release_row(row, 0, state=OutboxState.UNSURE)
            self.record_attempt(
                row, Attempt(at=now, kind=DeliveryKind.UNKNOWN, problem="", detail="the gateway ended while it was under way")
            )

    def readdress(self, former: str, present: str, requests: Sequence[str]) -> None:
        """Move unsettled letters, and unsent partner messages about `requests`, from a former card to the current card.

        Messages that may have reached a partner already are repeated unchanged.
        """
        for state in (IS_WAITING, IS_DEAD):
            letters = and_(M.kind == OutboxKind.MAIL, M.recipient == former)
            untold = and_(M.kind == OutboxKind.NCIP, M.state == OutboxState.WAITING, M.request.in_(requests))
            for found in self._connection.execute(select(OUTBOX).where(state, or_(letters, untold))).mappings().all():
                row = _readable_row(found)
                if row and row.payload.patron == former:
                    values = {"payload": to_json(replace(row.payload, patron=present))}
                    values |= {"recipient": present} if row.kind is OutboxKind.MAIL else {}
                    self._connection.execute(update(OUTBOX).where(M.id == row.id).values(values))

    def row(self, number: int) -> OutboxRow | None:
        """Return one row in any state. Raises NewerRow if it cannot be read."""
        found = _ROW.first(self._connection, number=number)
        return _make_row(found) if found else None

    def row_state(self, number: int) -> tuple[OutboxState, int] | None:
        """Return the state of one row and its number of tries, or None if the row does not exist."""
        return next(((OutboxState(state), attempts) for state, attempts in _STATE.cells(self._connection, number=number)), None)

    def rows(
        self,
        *,
        partner: str = "",
        request: str = "",
        error: str = "",
        states: Sequence[OutboxState] = UNSETTLED,
        after: int = 0,
        most: int | None = None,
    ) -> tuple[OutboxRow, ...]:
        """Return readable rows in these states, oldest first, at most `most` with a number above `after`.

        The result can be limited to a partner, a request, or a text in the last error.
        """
        # With plain `id` the database would scan the whole table in the order of ids.
        number = M.id + 0
        wanted: list[Condition] = [M.state.in_(states)]
        wanted += [M.recipient == partner] if partner else []
        wanted += [M.request == request] if request else []
        wanted += [M.last_error.icontains(error, autoescape=True)] if error else []
        wanted += [number > after] if after else []
        apart = {_INDEXED[state] for state in states} if set(states) <= set(UNSETTLED) else {true()}
        query = (select(OUTBOX).where(those, *wanted).order_by(number).limit(most) for those in apart)
        found = (self._connection.execute(query).mappings() for query in query)
        read = (_readable_row(r, claimed=0) for each in found for r in each)
        return tuple(sorted((row for row in read if row), key=lambda row: row.id))[:most]

    def unreadable(self) -> tuple[tuple[int, str], ...]:
        """Return the number and the channel of each waiting row that cannot be read."""
        query = select(OUTBOX).where(IS_WAITING).order_by(M.id)
        return tuple((r["id"], r["line"]) for r in self._connection.execute(query).mappings() if not _readable_row(r))

    def set_aside(self) -> Mapping[str, int]:
        """Count the rows that `claim` could not read, by channel."""
        counted = select(M.line, func.count()).where(IS_WAITING, M.last_error == UNREADABLE).group_by(M.line)
        return {channel: count for channel, count in self._transaction.execute(counted)}  # noqa: C416  # a Row is not a pair

    def request_of(self, number: int) -> str:
        """Return the request of a row, even of an unreadable row, or "" if the row has no request."""
        return str(self._connection.execute(select(M.request).where(M.id == number)).scalar() or "")

    def next_due(self) -> datetime | None:
        """Return the earliest time at which a message is due on a channel that is not paused, or None."""
        found = NEXT.cells(self._connection)
        return min((max(at, rests_until or at) for at, rests_until in found if at is not None), default=None)

    def depths(self) -> tuple[tuple[str, OutboxState, int, datetime], ...]:
        """Return (recipient, state, count, oldest) for all unsettled rows. Letters have the recipient "mail"."""
        counted = select(M.line, M.state, func.count(), func.min(M.made_at)).group_by(M.line, M.state)
        found = [self._transaction.execute(counted.where(those)) for those in (IS_WAITING, IS_DEAD)]
        return tuple((who, OutboxState(state), count, oldest) for each in found for who, state, count, oldest in each)

    def _release_row(self, row: int, made: int = 1, **values: object) -> None:
        _release_statement(tuple(values)).write(self._connection, number=row, made=made, **values)


def _readable_row(found: Mapping[Any, Any], claimed: int = 1) -> OutboxRow | None:
    """Build the row, or return None if it is unreadable. By default the current try counts as an attempt."""
    try:
        return _make_row(found, claimed)
    except NewerRow:
        return None


_AS_IT_IS: Final = ("id", "recipient", "line", "request", "corr", "made_at", "next_at", "last_error")


def _make_row(found: Mapping[Any, Any], claimed: int = 0) -> OutboxRow:
    kept = {name: found[name] for name in _AS_IT_IS}
    state = OutboxState.UNSURE if claimed and found["claimed_by"] else OutboxState(found["state"])
    try:
        send = (LocalSend if found["kind"] == OutboxKind.ILS else Notification)(found["send"])
        payload: Payload = from_json(found["payload"])
    except (KeyError, TypeError, ValueError):
        spoilt = f"row {found['id']} of the outbox is spoilt, or was written by a newer version of this program"
        raise NewerRow(spoilt) from None
    if isinstance(payload, LocalMessage) and payload.request:  # the stored key identifies the copy, not the request
        kept["request"] = payload.request
    return OutboxRow(
        **kept, kind=OutboxKind(found["kind"]), send=send, payload=payload, state=state, attempts=found["attempts"] + claimed
    )


_TRIED = insert_row(ATTEMPTS, "row", "at", "kind", "problem", "detail")
_THIS = M.id == bindparam("number")
_NEVER_TRIED = and_(M.state.in_(WAITING), M.attempts == 0, M.lease_until.is_(None))


@cache
def _release_statement(columns: tuple[str, ...]) -> CompiledStatement:
    """Return a statement that releases a row after `made` tries and sets these columns."""
    values: dict[str, Any] = {name: bindparam(name, type_=OUTBOX.c[name].type) for name in columns}
    freed = {"attempts": M.attempts + bindparam("made"), "claimed_by": "", "lease_until": None}
    return CompiledStatement(update(OUTBOX).where(_THIS).values(**values, **freed))


_ROW = CompiledStatement(select(OUTBOX).where(_THIS))
_STATE = CompiledStatement(select(M.state, M.attempts).where(_THIS))
_PUT = insert_row(OUTBOX, "kind", "send", "recipient", "request", "payload", "corr", "state", "made_at", "next_at")

_UNTIL = bindparam("until", type_=M.lease_until.type)
_LEASE = CompiledStatement(update(OUTBOX).where(_THIS).values(claimed_by=bindparam("who"), lease_until=_UNTIL), "number")
