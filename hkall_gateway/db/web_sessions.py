"""Browser sessions, patrons' API tokens and known browsers, with scans at the scan station and random numbers for cards.

Only the hash of a token is stored. A session ends when the PIN or password of its login changes.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select, true, update

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.tables import PATRON_NUMBERS, PATRONS, WEB_SCANS, WEB_SESSIONS
from hkall_gateway.db.unit_of_work import UnitOfWork

W = WEB_SCANS.c
MOST: Final = 20
"""Maximum number of scans stored for a session."""


@dataclass(frozen=True, slots=True)
class WebScan:
    """A scan at the scan station. `answer` is JSON with the texts that were shown."""

    number: int
    at: datetime
    answer: str


_OF = CompiledStatement(select(W.number, W.at, W.answer).where(W.token_hash == bindparam("token")).order_by(W.number.desc()))


def add(unit: UnitOfWork, token_hash: str, answer: str, now: datetime) -> int:
    """Store a scan, delete the session's oldest scans beyond MOST, and return the new scan's number."""
    last = unit.execute(select(func.max(W.number)).where(W.token_hash == token_hash)).scalar() or 0
    unit.execute(insert(WEB_SCANS).values(token_hash=token_hash, number=last + 1, at=now, answer=answer))
    unit.execute(delete(WEB_SCANS).where(W.token_hash == token_hash, W.number <= last + 1 - MOST))
    return int(last) + 1


def of(unit: UnitOfWork, token_hash: str) -> tuple[WebScan, ...]:
    """Return the scans of a session, newest first."""
    return tuple(WebScan(*cells) for cells in _OF.cells(unit.connection, token=token_hash))


N = PATRON_NUMBERS.c

KEPT: Final = timedelta(days=30)
"""Time since the last search for a card after which the card's random number is deleted."""
LETTERS: Final = "23456789abcdefghjkmnpqrstvwxyz"
LENGTH: Final = 16


def number_of(unit: UnitOfWork, card: str, now: datetime) -> str:
    """Return the random number of a card for URLs, so that no card number gets into logs and browser histories.

    Create the number if the card does not have one. Delete numbers of cards that were not searched for within KEPT.
    """
    unit.execute(delete(PATRON_NUMBERS).where(N.at < now - KEPT))
    if found := unit.execute(select(N.number).where(N.card == card)).scalar():
        unit.execute(update(PATRON_NUMBERS).where(N.number == found).values(at=now))
        return str(found)
    made = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
    unit.execute(insert(PATRON_NUMBERS).values(number=made, card=card, at=now))
    return made


def find_number(unit: UnitOfWork, card: str) -> str:
    """Return the random number that replaces a card number in URLs, or "" if the card has no random number."""
    return str(unit.execute(select(N.number).where(N.card == card)).scalar() or "") if card else ""


def card_of(unit: UnitOfWork, number: str) -> str:
    """Return the card with this random number, or "" if the number is unknown."""
    return str(unit.execute(select(N.card).where(N.number == number)).scalar() or "")


S = WEB_SESSIONS.c

STAFF: Final = "staff"
PATRON: Final = "patron"
PATRON_API: Final = "patron_api"
BROWSER: Final = "browser"
"""Session kinds: staff or patron in a browser, a patron's API token, and a browser known from an earlier login."""
LONGEST: Final = timedelta(hours=12)
"""Maximum duration of a session after the login."""
API_LONGEST: Final = timedelta(hours=1)
"""Maximum duration of a patron's API token after the login."""
BROWSER_LONGEST: Final = timedelta(days=90)
"""Time after the last login during which a browser counts as known."""
MOST_BROWSERS: Final = 20
"""Maximum number of known browsers per person. A new browser replaces the oldest."""
IDLE: Final = {
    STAFF: timedelta(minutes=60),
    PATRON: timedelta(minutes=20),
    PATRON_API: API_LONGEST,
    BROWSER: BROWSER_LONGEST,
}
"""Idle time after which a session ends, by session kind."""
SEEN_EVERY: Final = timedelta(minutes=1)
"""Minimum time between two writes of a session's `seen_at`, so that not every page view costs a write."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSession:
    """A session, API token or known browser that belongs to staff (`login`) or to a patron (`patron`).

    Attributes:
        source: Login method: local, pin or oidc.
        csrf: Secret for the forms of the session.
        credential: Digest of the stored hash of the PIN or password, or "" for an external login.
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
    credential: str = ""

    def ended(self, now: datetime) -> bool:
        """Check whether the session has reached `ends_at` or has been idle for too long."""
        return now >= self.ends_at or now >= self.seen_at + IDLE[self.kind]


_COLUMNS = tuple(S[name] for name in WebSession.__slots__)
_ONE = CompiledStatement(
    select(PATRONS.c.pin_hash, *_COLUMNS)
    .select_from(WEB_SESSIONS.outerjoin(PATRONS, PATRONS.c.barcode == S.patron))
    .where(S.token_hash == bindparam("token"))
)


def find(unit: UnitOfWork, token_hash: str) -> WebSession | None:
    """Return a token's session, even if it has ended. Return None if the patron has changed the PIN since the login."""
    for row in _ONE.rows(unit.connection, token=token_hash):
        pin_hash = row.pop("pin_hash")
        found = WebSession(**row)
        return None if pin_hash is not None and found.credential not in ("", digest(pin_hash)) else found
    return None


def digest(secret_hash: str) -> str:
    """Return the `credential` for the stored hash of a PIN or password, or "" for an empty hash."""
    return sha256(secret_hash.encode()).hexdigest() if secret_hash else ""


def remember_browser(unit: UnitOfWork, browser: WebSession, before: str) -> None:
    """Store a known browser in place of the token `before`. Delete its owner's oldest browsers beyond MOST_BROWSERS."""
    own = (S.kind == BROWSER) & (S.login == browser.login) & (S.patron == browser.patron)
    kept = select(S.token_hash).where(own).order_by(S.created_at.desc(), S.token_hash).limit(MOST_BROWSERS - 1)
    newest = [token for (token,) in unit.execute(kept)]
    _delete_sessions(unit, ((S.token_hash == before) & (S.kind == BROWSER)) | (own & S.token_hash.not_in(newest)))
    unit.execute(insert(WEB_SESSIONS).values(**asdict(browser)))


def begin(unit: UnitOfWork, session: WebSession, now: datetime, before: str = "") -> None:
    """Store a new session. Delete the session of the token `before` and all sessions past their `ends_at`."""
    _delete_sessions(unit, (S.token_hash == before) | (S.ends_at <= now))
    unit.execute(insert(WEB_SESSIONS).values(**asdict(session)))


def seen(unit: UnitOfWork, token_hash: str, now: datetime) -> None:
    """Set a session's `seen_at` to `now`."""
    unit.execute(update(WEB_SESSIONS).where(S.token_hash == token_hash, S.seen_at < now).values(seen_at=now))


def end(unit: UnitOfWork, token_hash: str) -> None:
    """Delete a session, if it exists."""
    _delete_sessions(unit, S.token_hash == token_hash)


def end_of_patron(unit: UnitOfWork, card: str) -> None:
    """Delete the sessions, tokens and browsers of a patron's card."""
    _delete_sessions(unit, S.patron == card)


def end_of_vanished(unit: UnitOfWork, load_before: int) -> None:
    """Delete the sessions, tokens and browsers of patrons whose last import number is below `load_before`."""
    vanished = select(PATRONS.c.barcode).where(PATRONS.c.load < load_before)
    _delete_sessions(unit, S.patron.in_(vanished))


def end_all(unit: UnitOfWork) -> int:
    """Delete all sessions, patrons' tokens and known browsers. Return the number of sessions and tokens."""
    count = unit.execute(select(func.count()).select_from(WEB_SESSIONS).where(S.kind != BROWSER)).scalar_one()
    _delete_sessions(unit, true())
    return int(count)


def _delete_sessions(unit: UnitOfWork, which: ColumnElement[bool]) -> None:
    """Delete sessions with their scans."""
    of_these = WEB_SCANS.c.token_hash.in_(select(S.token_hash).where(which))
    unit.execute(delete(WEB_SCANS).where(of_these))
    unit.execute(delete(WEB_SESSIONS).where(which))
