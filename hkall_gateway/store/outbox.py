"""The outbox as a unit of work sees it: put, claim, sent, failed, dead. A lane (one request, one recipient) leaves in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, exists, func, insert, or_, select, text, update

from hkall_gateway.rules.lifecycle import Send
from hkall_gateway.rules.records import from_json, to_json
from hkall_gateway.rules.tidings import Letter, Telling, is_letter
from hkall_gateway.store.tables import IS_WAITING, OUTBOX

UNSETTLED = ("waiting", "dead")


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One thing to tell. `kind` is ncip or mail; `attempts` counts those already made, this one included once claimed."""

    id: int
    kind: str
    send: Send
    recipient: str
    request: str
    payload: Telling | Letter
    corr: str
    state: str
    made_at: datetime
    next_at: datetime
    attempts: int
    last_error: str


class Outbox:
    """Reads and writes of the outbox inside a unit of work."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, send: Send, payload: Telling | Letter, corr: str, now: datetime) -> None:
        """Something to tell; it leaves after the commit of this unit, when the courier next looks."""
        recipient = payload.patron if isinstance(payload, Letter) else payload.partner
        self._connection.execute(
            _PUT,
            {
                "lane": f"{payload.request}/{recipient}",
                "kind": "mail" if is_letter(send) else "ncip",
                "send": send.value,
                "recipient": recipient,
                "request": payload.request,
                "payload": to_json(payload),
                "corr": corr,
                "state": "waiting",
                "made_at": now,
                "next_at": now,
            },
        )

    def claim(self, now: datetime, instance: str, lease_s: int, limit: int) -> tuple[OutboxRow, ...]:
        """The oldest unsent row of each lane that is due, at most `limit`, leased to `instance` for `lease_s` seconds.

        A row whose lease has run out belonged to a gateway that died; it is handed out again.
        """
        found = self._connection.execute(self._skipping_locked(_DUE), {"now": now, "most": limit}).mappings().all()
        if found:
            self._connection.execute(
                _LEASE,
                {"ids": [r["id"] for r in found], "who": instance, "until": now + timedelta(seconds=lease_s)},
            )
        return tuple(_row(r, claimed=1) for r in found)

    def sent(self, row: int, now: datetime) -> None:
        """It was told; the lane's next row may leave."""
        self._settle(row, state="sent", sent_at=now, last_error="")

    def later(self, row: int, next_at: datetime, error: str) -> None:
        """It could not be told; try again at `next_at`."""
        self._settle(row, next_at=next_at, last_error=error[:500])

    def dead(self, row: int, error: str) -> None:
        """It was tried often enough; a person must look. The lane waits."""
        self._settle(row, state="dead", last_error=error[:500])

    def retry(self, row: int, now: datetime) -> bool:
        """A person says: again, at once, with a fresh count. False if there is no such unsettled row."""
        found = self._connection.execute(
            update(OUTBOX)
            .where(OUTBOX.c.id == row, OUTBOX.c.state.in_(UNSETTLED))
            .values(state="waiting", next_at=now, attempts=0, claimed_by="", lease_until=None)
        )
        return found.rowcount == 1

    def release(self, instance: str) -> None:
        """Give back what `instance` had claimed before it died; called when it starts again."""
        self._connection.execute(update(OUTBOX).where(OUTBOX.c.claimed_by == instance).values(claimed_by="", lease_until=None))

    def rows(self, *, partner: str = "", request: str = "", states: Sequence[str] = UNSETTLED) -> tuple[OutboxRow, ...]:
        """Rows in these states, oldest first, for the command line."""
        wanted: list[ColumnElement[bool]] = [OUTBOX.c.state.in_(states)]
        wanted += [OUTBOX.c.recipient == partner] if partner else []
        wanted += [OUTBOX.c.request == request] if request else []
        found = self._connection.execute(select(OUTBOX).where(*wanted).order_by(OUTBOX.c.id)).mappings()
        return tuple(_row(r) for r in found)

    def depths(self) -> tuple[tuple[str, str, int, datetime], ...]:
        """(recipient, state, count, oldest) of everything unsettled; letters are counted under "mail"."""
        whom = case((OUTBOX.c.kind == "mail", "mail"), else_=OUTBOX.c.recipient)
        found = self._connection.execute(
            select(whom, OUTBOX.c.state, func.count(), func.min(OUTBOX.c.made_at))
            .where(OUTBOX.c.state.in_(UNSETTLED))
            .group_by(whom, OUTBOX.c.state)
        )
        return tuple((who, state, count, oldest) for who, state, count, oldest in found)

    def _settle(self, row: int, **values: Any) -> None:
        self._connection.execute(
            update(OUTBOX)
            .where(OUTBOX.c.id == row)
            .values(attempts=OUTBOX.c.attempts + 1, claimed_by="", lease_until=None, **values)
        )

    def _skipping_locked(self, question: Any) -> Any:
        return question if self._connection.dialect.name == "sqlite" else question.with_for_update(skip_locked=True)


def _row(found: Any, claimed: int = 0) -> OutboxRow:
    return OutboxRow(
        id=found["id"],
        kind=found["kind"],
        send=Send(found["send"]),
        recipient=found["recipient"],
        request=found["request"],
        payload=from_json(found["payload"]),
        corr=found["corr"],
        state=found["state"],
        made_at=found["made_at"],
        next_at=found["next_at"],
        attempts=found["attempts"] + claimed,
        last_error=found["last_error"],
    )


_EARLIER = OUTBOX.alias("earlier")
_EARLIER_UNSETTLED = text("earlier.state IN ('waiting', 'dead')")
_PUT = insert(OUTBOX)
_DUE = (
    select(OUTBOX)
    .where(
        IS_WAITING,
        OUTBOX.c.next_at <= bindparam("now"),
        or_(OUTBOX.c.lease_until.is_(None), OUTBOX.c.lease_until < bindparam("now")),
        ~exists().where(and_(_EARLIER.c.lane == OUTBOX.c.lane, _EARLIER.c.id < OUTBOX.c.id, _EARLIER_UNSETTLED)),
    )
    .order_by(OUTBOX.c.next_at, OUTBOX.c.id)
    .limit(bindparam("most"))
)
_LEASE = (
    update(OUTBOX)
    .where(OUTBOX.c.id.in_(bindparam("ids", expanding=True)))
    .values(claimed_by=bindparam("who"), lease_until=bindparam("until"))
)
