"""Sessions of browsers, tokens of patrons for the API, and known browsers, with their scans and the numbers of cards.

Only the hash of a token is stored. A session ends with the PIN or password that began it: `credential` is a digest of its hash.
"""

from __future__ import annotations

import secrets
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, select, update

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.tables import PATRON_NUMBERS, PATRONS, WEB_SCANS, WEB_SESSIONS
from hkall_gateway.db.unit_of_work import UnitOfWork

W = WEB_SCANS.c
MOST: Final = 20
"""Scans that are kept of a session."""


@dataclass(frozen=True, slots=True)
class WebScan:
    """A scan. `answer` is JSON, in the words that were shown."""

    number: int
    at: datetime
    answer: str


_OF = CompiledStatement(select(W.number, W.at, W.answer).where(W.token_hash == bindparam("token")).order_by(W.number.desc()))


def add(unit: UnitOfWork, token_hash: str, answer: str, now: datetime) -> int:
    """Store a scan, delete the oldest ones beyond MOST, and return its number."""
    last = unit.execute(select(func.max(W.number)).where(W.token_hash == token_hash)).scalar() or 0
    unit.execute(insert(WEB_SCANS).values(token_hash=token_hash, number=last + 1, at=now, answer=answer))
    unit.execute(delete(WEB_SCANS).where(W.token_hash == token_hash, W.number <= last + 1 - MOST))
    return int(last) + 1


def of(unit: UnitOfWork, token_hash: str) -> tuple[WebScan, ...]:
    """Return the scans of a session, newest first."""
    return tuple(WebScan(*cells) for cells in _OF.cells(unit.connection, token=token_hash))


N = PATRON_NUMBERS.c

KEPT: Final = timedelta(days=30)
"""A number is forgotten this long after the last search that gave it."""
LETTERS: Final = "23456789abcdefghjkmnpqrstvwxyz"
LENGTH: Final = 16


def number_of(unit: UnitOfWork, card: str, now: datetime) -> str:
    """Return the random number of a card for the addresses of pages, so that no card gets into logs and histories.

    A card without one gets a new one. Numbers that nobody has searched for since KEPT are deleted.
    """
    unit.execute(delete(PATRON_NUMBERS).where(N.at < now - KEPT))
    if found := unit.execute(select(N.number).where(N.card == card)).scalar():
        unit.execute(update(PATRON_NUMBERS).where(N.number == found).values(at=now))
        return str(found)
    made = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
    unit.execute(insert(PATRON_NUMBERS).values(number=made, card=card, at=now))
    return made


def find_number(unit: UnitOfWork, card: str) -> str:
    """Return the number of a card, or "" for none."""
    return str(unit.execute(select(N.number).where(N.card == card)).scalar() or "") if card else ""


def card_of(unit: UnitOfWork, number: str) -> str:
    """Return the card with this number, or "" for none."""
    return str(unit.execute(select(N.card).where(N.number == number)).scalar() or "")


S = WEB_SESSIONS.c

STAFF: Final = "staff"
PATRON: Final = "patron"
PATRON_API: Final = "patron_api"
BROWSER: Final = "browser"
"""The kinds: sessions of staff and patrons in a browser, a patron's token for the API, and a browser whose login succeeded."""
LONGEST: Final = timedelta(hours=12)
"""From the login to the end of a session, used or not."""
API_LONGEST: Final = timedelta(hours=1)
"""From the login to the end of a patron's token for the API."""
BROWSER_LONGEST: Final = timedelta(days=90)
"""From the last login to the end of the browser's exemption."""
MOST_BROWSERS: Final = 20
"""Browsers of one person that are remembered; the oldest is forgotten for one more."""
IDLE: Final = {
    STAFF: timedelta(minutes=60),
    PATRON: timedelta(minutes=20),
    PATRON_API: API_LONGEST,
    BROWSER: BROWSER_LONGEST,
}
"""From the last request to the end of a session, by its kind."""
SEEN_EVERY: Final = timedelta(minutes=1)
"""A request writes `seen_at` only if it is this old, so that reading a page costs a write once a minute at most."""


@dataclass(frozen=True, slots=True)
class WebSession:
    """A session, token or known browser. `login` names a member of staff, or `patron` is a patron's card, and the other is "".

    `role` is the staff role, `source` the way of the login: local, pin or oidc. `csrf` is the secret of the session's forms.
    `credential` is the digest of the hash of the PIN or password, or "" for a login elsewhere.
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
        """Return whether the session is over: too long without a request, or at its absolute end."""
        return now >= self.ends_at or now >= self.seen_at + IDLE[self.kind]


_COLUMNS = tuple(S[name] for name in WebSession.__slots__)
_ONE = CompiledStatement(
    select(PATRONS.c.pin_hash, *_COLUMNS)
    .select_from(WEB_SESSIONS.outerjoin(PATRONS, PATRONS.c.barcode == S.patron))
    .where(S.token_hash == bindparam("token"))
)


def find(unit: UnitOfWork, token_hash: str) -> WebSession | None:
    """Return the session of a token, ended or not, or None also if the patron's PIN has changed since the login."""
    for pin_hash, *cells in _ONE.cells(unit.connection, token=token_hash):
        found = WebSession(*cells)
        return None if pin_hash is not None and found.credential not in ("", digest(pin_hash)) else found
    return None


def digest(secret_hash: str) -> str:
    """Return the `credential` of a stored hash, or "" without one. It reveals no more than the salt of the hash."""
    return sha256(secret_hash.encode()).hexdigest() if secret_hash else ""


def remember_browser(unit: UnitOfWork, browser: WebSession, before: str) -> None:
    """Store a known browser in place of the token `before`, and forget its owner's oldest ones beyond MOST_BROWSERS."""
    own = (S.kind == BROWSER) & (S.login == browser.login) & (S.patron == browser.patron)
    kept = select(S.token_hash).where(own).order_by(S.created_at.desc(), S.token_hash).limit(MOST_BROWSERS - 1)
    newest = [token for (token,) in unit.execute(kept)]
    _delete_sessions(unit, ((S.token_hash == before) & (S.kind == BROWSER)) | (own & S.token_hash.not_in(newest)))
    unit.execute(insert(WEB_SESSIONS).values(**asdict(browser)))


def begin(unit: UnitOfWork, session: WebSession, now: datetime, before: str = "") -> None:
    """Store a new session, and delete that of the token `before` and those that have reached their absolute end."""
    _delete_sessions(unit, (S.token_hash == before) | (S.ends_at <= now))
    unit.execute(insert(WEB_SESSIONS).values(**asdict(session)))


def seen(unit: UnitOfWork, token_hash: str, now: datetime) -> None:
    """Record that a session was used now."""
    unit.execute(update(WEB_SESSIONS).where(S.token_hash == token_hash, S.seen_at < now).values(seen_at=now))


def end(unit: UnitOfWork, token_hash: str) -> None:
    """Delete a session. Safe to call again."""
    _delete_sessions(unit, S.token_hash == token_hash)


def end_of_patron(unit: UnitOfWork, card: str) -> None:
    """Delete the sessions, tokens and browsers of a patron's card."""
    _delete_sessions(unit, S.patron == card)


def _delete_sessions(unit: UnitOfWork, which: ColumnElement[bool]) -> None:
    """Delete sessions with their scans."""
    of_these = WEB_SCANS.c.token_hash.in_(select(S.token_hash).where(which))
    unit.execute(delete(WEB_SCANS).where(of_these))
    unit.execute(delete(WEB_SESSIONS).where(which))
