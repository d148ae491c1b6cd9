"""Repository of patron letters, which queues each letter only once and stores its state."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache

from sqlalchemy import bindparam, func, or_, select

from hkall_gateway.db.engine.compiled import CompiledStatement, insert_or_write_over, update_row
from hkall_gateway.db.tables import NOTICES
from hkall_gateway.db.transaction import Repository
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.letters import REVOKED_BY, EarlierLetter, occasion
from hkall_gateway.rules.stored_words import NoticeState
from hkall_gateway.rules.vocabulary import NOTHING, Request, Sensitive

N = NOTICES.c


@dataclass(frozen=True, slots=True, kw_only=True)
class SentNotice:
    """A registered patron letter. `kind` is a value of Notification."""

    id: int
    request: str
    kind: str
    state: NoticeState


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptLetter:
    """A letter that its patron can read again. `kind` is a value of Notification."""

    request: str
    kind: str
    sent_at: datetime
    text: str


class NoticeRepository(Repository):
    """Registers patron letters and stores their states."""

    def find(self, number: int) -> SentNotice | None:
        """Return the letter with this number, or None if it does not exist."""
        for _, request, kind, state in _NOTICE.cells(self._connection, number=number):
            return SentNotice(id=number, request=request, kind=kind, state=NoticeState(state))
        return None

    def earlier(self, request: str) -> tuple[EarlierLetter, ...]:
        """Return the letters about a request that have or may have arrived, and have not bounced, oldest first."""
        return tuple(
            EarlierLetter(kind=kind, occasion=about, is_certain=state == NoticeState.SENT)
            for kind, about, state in _EARLIER.cells(self._connection, of=request)
        )

    def queue(self, send: Notification, before: Request, after: Request, now: datetime) -> int | None:
        """Queue a letter once per occasion. Return the letter's number, or None if it was queued before."""
        revoked = ""
        if send in REVOKED_BY:  # once a letter has revoked it, the same letter may be sent again on the same day
            others = _OF_A_KIND.cells(self._connection, of=after.id, kind=REVOKED_BY[send].value)[0][0]
            revoked = f" {others}" if others > 1 else ""
        fresh = _queue_statement(self._transaction.dialect).cells(
            self._connection,
            request=after.id,
            kind=send.value,
            about=occasion(send, after, before) + revoked,
            patron=after.patron,
            state=NoticeState.QUEUED.value,
            made_at=now,
        )
        return fresh[0][0] if fresh else None

    def set_state(self, notice: int, state: NoticeState, error: str, now: datetime, text: Sensitive = NOTHING) -> None:
        """Store the result of sending a letter: its state, the error if it is undeliverable, and a text to keep."""
        sent = {"sent_at": now, "text": text.reveal()} if state is NoticeState.SENT else {}
        update_row(self._connection, NOTICES, {"id": notice}, {"state": state.value, "error": error, **sent})

    def kept(self, card: str) -> tuple[KeptLetter, ...]:
        """Return the letters to a patron whose text is kept, newest first."""
        query = select(N.request, N.kind, N.sent_at, N.text).where(N.patron == card, N.text != "").order_by(N.id.desc())
        return tuple(KeptLetter(**row) for row in self._connection.execute(query).mappings())


_NOTICE = CompiledStatement(select(N.id, N.request, N.kind, N.state).where(N.id == bindparam("number")))
_MAY_HAVE_ARRIVED = or_(N.state == NoticeState.SENT, N.state == NoticeState.UNSURE)
_EARLIER = CompiledStatement(
    select(N.kind, N.about, N.state).where(N.request == bindparam("of"), _MAY_HAVE_ARRIVED).order_by(N.made_at, N.id)
)
_OF_A_KIND = CompiledStatement(
    select(func.count()).where(NOTICES.c.request == bindparam("of"), NOTICES.c.kind == bindparam("kind"))
)


@cache
def _queue_statement(dialect: str) -> CompiledStatement:
    """Return a statement that queues a letter unless it was queued before. The statement returns the letter's number.

    A letter that certainly or perhaps never left is queued again by a new event of its occasion.
    """
    columns = ("request", "kind", "about", "patron", "state", "made_at")
    values = {name: bindparam(name, type_=NOTICES.c[name].type) for name in columns}
    not_proven = or_(NOTICES.c.state == NoticeState.NOT_NEEDED, NOTICES.c.state == NoticeState.UNSURE)
    row = insert_or_write_over(NOTICES, dialect, ("state", "made_at"), not_proven, columns[:3])
    return CompiledStatement(row.values(values).returning(NOTICES.c.id))
