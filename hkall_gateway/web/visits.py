"""The pages' own rows: sessions, tokens, scans at the station, numbers of patrons, and idempotency keys of programs.

These rows concern no request, copy or charge. Pages reach all other rows by commands and questions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from hkall_gateway.db import api_tokens, bind, inbox, web_sessions
from hkall_gateway.db.api_tokens import ApiToken
from hkall_gateway.db.engine.locks import LockSet, unlocked
from hkall_gateway.db.loads.former_cards import card_now
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.db.web_sessions import WebScan, WebSession
from hkall_gateway.web.bridge import Bridge

KEPT_S: Final = 24 * 3600
"""Seconds for which the fingerprint of a request with an idempotency key is stored."""
_OWN_SESSION: Final = unlocked("a session is named by its random token, and each statement writes one row")
_OWN_TOKEN: Final = unlocked("one UPDATE of the time of a token's last use")


class Visits:
    """The repository of the pages' own rows. Each method is one transaction, and raises Unavailable if it is impossible."""

    def __init__(self, bridge: Bridge, now: Callable[[], datetime]) -> None:
        self._bridge, self._now = bridge, now

    def find_session(self, token_hash: str) -> WebSession | None:
        """Return the stored session of a token, which may have ended, or None."""
        return self._bridge.read(bind(web_sessions.find, token_hash))

    def mark_seen(self, token_hash: str) -> None:
        """Record that the owner of a session has just used it."""
        self._bridge.write(bind(web_sessions.seen, token_hash, self._now()), _OWN_SESSION)

    def begin(self, session: WebSession, browser: WebSession, ended: str, former_browser: str) -> None:
        """Store a new session and the proof that its owner uses this browser.

        Args:
            session: The new session.
            browser: The row that proves an earlier login with this browser.
            ended: Token hash of the browser's previous session, which ends, or "".
            former_browser: Token hash of the browser's previous proof, which the new one replaces, or "".
        """

        def store(unit: UnitOfWork) -> None:
            web_sessions.begin(unit, session, self._now(), ended)
            web_sessions.remember_browser(unit, browser, former_browser)

        self._bridge.write(store, _OWN_SESSION)

    def begin_token(self, session: WebSession) -> None:
        """Store the session of a patron's token for the API."""
        self._bridge.write(bind(web_sessions.begin, session, self._now()), _OWN_SESSION)

    def end(self, token_hash: str) -> None:
        """End a session."""
        self._bridge.write(bind(web_sessions.end, token_hash), _OWN_SESSION)

    def find_program(self, token_hash: str) -> ApiToken | None:
        """Return the stored token of a program, which may have ended, or None."""
        return self._bridge.read(bind(api_tokens.find, token_hash))

    def mark_used(self, program: str) -> None:
        """Record that a program has just used its token."""
        self._bridge.write(bind(api_tokens.used, program, self._now()), _OWN_TOKEN)

    def first_use(self, scope: str, key: str, fingerprint: str) -> str:
        """Return the fingerprint of the request that first used an idempotency key. A new key gets `fingerprint`."""

        def store(unit: UnitOfWork) -> str:
            before = inbox.find(unit, scope, key, self._now())
            if before:
                return before
            keep_until = self._now() + timedelta(seconds=KEPT_S)
            inbox.keep(unit, scope, key, fingerprint, keep_until, self._now())
            return fingerprint

        return self._bridge.write(store, LockSet(document=(scope, key)))

    def number_of(self, card: str) -> str:
        """Return the random number that stands for a card in the URLs of pages."""
        return self._bridge.write(bind(web_sessions.number_of, card, self._now()), LockSet(card))

    def card_of(self, number: str) -> str:
        """Return the present card of the patron with this random number, or "" if the number is unknown."""

        def find(unit: UnitOfWork) -> str:
            card = web_sessions.card_of(unit, number)
            return card_now(unit, card) if card else ""

        return self._bridge.read(find)

    def keep_scan(self, token_hash: str, answer: str) -> int:
        """Store the answer to a scan with its session, and return the scan's number."""
        add = bind(web_sessions.add, token_hash, answer, self._now())
        return self._bridge.write(add, LockSet(document=("web_scans", token_hash)))

    def scans(self, token_hash: str) -> Sequence[WebScan]:
        """Return the scans of a session, newest first."""
        return self._bridge.read(bind(web_sessions.of, token_hash))
