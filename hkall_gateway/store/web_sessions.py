"""Sessions of browsers, and tokens of patrons for the API: their owner and their end. Only the hash of a token is stored."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, insert, select, update

from hkall_gateway.store.engine.compiled import CompiledStatement
from hkall_gateway.store.queries.queries import Queries
from hkall_gateway.store.tables import WEB_SCANS, WEB_SESSIONS
from hkall_gateway.store.unit import Unit

S = WEB_SESSIONS.c

STAFF: Final = "staff"
PATRON: Final = "patron"
PATRON_API: Final = "patron_api"
"""The kinds of sessions: staff and patrons in a browser, and a patron's token for the API."""
LONGEST: Final = timedelta(hours=12)
"""From the login to the end of a session, used or not."""
API_LONGEST: Final = timedelta(hours=1)
"""From the login to the end of a patron's token for the API."""
IDLE: Final = {STAFF: timedelta(minutes=60), PATRON: timedelta(minutes=20), PATRON_API: API_LONGEST}
"""From the last request to the end of a session, by its kind."""
SEEN_EVERY: Final = timedelta(minutes=1)
"""A request writes `seen_at` only if it is this old, so that reading a page costs a write once a minute at most."""


@dataclass(frozen=True, slots=True)
class WebSession:
    """One row. `kind` is STAFF, PATRON or PATRON_API; `login` names a member of staff, `patron` is a patron's card.

    `role` is that of staff, `source` the way of the login: local, pin or oidc. `csrf` is the secret of the session's forms.
    """

    token_hash: str
    kind: str
    login: str
    patron: str
    name: str
    role: str
    source: str
    csrf: str
    created_at: datetime
    seen_at: datetime
    ends_at: datetime

    def ended(self, now: datetime) -> bool:
        """Return whether the session is over: too long without a request, or at its absolute end."""
        return now >= self.ends_at or now >= self.seen_at + IDLE[self.kind]


_COLUMNS = tuple(S[name] for name in WebSession.__slots__)
_ONE = CompiledStatement(select(*_COLUMNS).where(S.token_hash == bindparam("token")))


def find(unit: Queries, token_hash: str) -> WebSession | None:
    """Return the session of a token, ended or not."""
    return next((WebSession(*cells) for cells in _ONE.cells(unit.connection, token=token_hash)), None)


def begin(unit: Unit, session: WebSession, now: datetime, before: str = "") -> None:
    """Store a new session, delete the one of the token `before`, and those that have reached their absolute end."""
    _delete(unit, (S.token_hash == before) | (S.ends_at <= now))
    unit.execute(insert(WEB_SESSIONS).values(**asdict(session)))


def seen(unit: Unit, token_hash: str, now: datetime) -> None:
    """Record that a session was used now."""
    unit.execute(update(WEB_SESSIONS).where(S.token_hash == token_hash, S.seen_at < now).values(seen_at=now))


def end(unit: Unit, token_hash: str) -> None:
    """Delete a session. Safe to call again."""
    _delete(unit, S.token_hash == token_hash)


def end_of_patron(unit: Unit, card: str) -> None:
    """Delete the sessions of a patron's card."""
    _delete(unit, (S.kind == PATRON) & (S.patron == card))


def _delete(unit: Unit, which: ColumnElement[bool]) -> None:
    """Delete sessions with their scans."""
    of_these = WEB_SCANS.c.token_hash.in_(select(S.token_hash).where(which))
    unit.execute(delete(WEB_SCANS).where(of_these))
    unit.execute(delete(WEB_SESSIONS).where(which))
