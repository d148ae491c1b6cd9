"""Identifies the caller before a request takes a thread: a member of staff, a program, a patron, or a stranger.

Valid session cookies, cookies of browsers that have logged in before, and bearer tokens identify a caller. The caller only
determines which threads serve the request. Whether the request is permitted is decided later by the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

import structlog

from hkall_gateway.clock import Clock
from hkall_gateway.db import api_tokens, bind, web_sessions
from hkall_gateway.db.api_tokens import hash_of
from hkall_gateway.db.database import Store
from hkall_gateway.db.engine.connect import ANSWER_S
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.net.bounded_http import BoundedRequest
from hkall_gateway.net.limits.allow_list import CountedCaller, networks_of
from hkall_gateway.net.limits.timeout import Timeout, TooLate
from hkall_gateway.web.services import WebSettings
from hkall_gateway.web.sessions import BROWSER, COOKIE, caller_name, in_force

LOG = structlog.get_logger()
FRESH_S: Final = 0.5
"""Seconds for which an answer from the database counts as recent, so that requests without cookie or token need no query."""


class Share(StrEnum):
    """A group of callers with its own threads."""

    STAFF = "staff"
    PROGRAMS = "programs"
    """Programs with a token of their own, so that a busy program does not delay people."""
    PATRONS = "patrons"
    STRANGERS = "strangers"


@dataclass(frozen=True, slots=True)
class WebCaller:
    """The caller of a request.

    Attributes:
        share: The group whose threads serve the request.
        row: The caller's key in all limits, or "" for a stranger, who counts by network.
        is_limited: Whether the limit on pages per minute applies. It does not to staff with a session and to programs.
    """

    share: Share
    row: str = ""
    is_limited: bool = True

    def names(self, address: str) -> Sequence[CountedCaller]:
        """Return the names under which limits count this caller at `address`, the narrowest first."""
        if self.row:
            return (CountedCaller(self.row),)
        return networks_of(address)


STRANGER: Final = WebCaller(Share.STRANGERS)
_BEARER: Final = re.compile(r"bearer +([\w.~+/-]+=*)", re.IGNORECASE | re.ASCII)


class Callers:
    """Identifies callers, and detects that the database does not answer. Used in the reactor's thread.

    A paused database server keeps its connections open without answering, so that every page would block its thread. Therefore
    `find` fails at once from the first timeout until the database answers again.
    """

    def __init__(self, store: Store, settings: Callable[[], WebSettings], now: Callable[[], datetime], clock: Clock) -> None:
        self._store, self._settings, self._now = store, settings, now
        self._clock, self._within = clock, Timeout(clock, ANSWER_S)
        self._silent, self._fresh_until_s = False, 0.0

    async def find(self, request: BoundedRequest) -> WebCaller:
        """Return the caller of a request, or STRANGER if the database is down. Raises Unavailable while the database hangs."""
        if self._silent:
            raise Unavailable("the database is silent")
        cookies = [request.received_cookies.get(name.encode()) for name in (COOKIE, BROWSER)]
        tokens = [hash_of(cookie.decode("utf-8", "surrogateescape")) for cookie in cookies if cookie]
        bearer = bearer_token((request.getHeader(b"authorization") or b"").decode("latin-1"))
        if not tokens and not bearer and self._clock.seconds() < self._fresh_until_s:
            return STRANGER
        try:
            return await self._within.run(self._look_up(tokens or [""], bearer))
        except TooLate:
            if not self._silent:
                LOG.warning("web.database_silent", limit_s=self._within.seconds)
            self._silent = True
            raise Unavailable("the database is silent") from None

    async def _look_up(self, tokens: list[str], bearer: str) -> WebCaller:
        """Query the database for the caller. The result may arrive after the timeout, since the query cannot be cancelled."""
        try:
            found = await self._store.read(bind(self._find_proof, tokens, bearer))
        except Unavailable:
            found = STRANGER
        self._silent, self._fresh_until_s = False, self._clock.seconds() + FRESH_S
        return found

    def _find_proof(self, unit: UnitOfWork, tokens: list[str], bearer: str) -> WebCaller:
        now, settings = self._now(), self._settings()
        for token in [*tokens, *([hash_of(bearer)] if bearer else ())]:
            if found := in_force(web_sessions.find(unit, token), settings, now):
                share = Share.STAFF if found.login else Share.PATRONS
                return WebCaller(share, caller_name(found), is_limited=found.kind != web_sessions.STAFF)
        program = api_tokens.find(unit, hash_of(bearer)) if bearer else None
        if program and program.in_force(now):
            return WebCaller(Share.PROGRAMS, f"token {program.name}", is_limited=False)
        return STRANGER


def bearer_token(authorization: str) -> str:
    """Return the bearer token in an Authorization header, or "" if there is none."""
    given = _BEARER.fullmatch(authorization.strip())
    return given[1] if given else ""
