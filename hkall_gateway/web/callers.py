"""Who asks for a page, found before a thread is taken: staff and programs, patrons, or strangers, by the proof that came.

A proof is a session's cookie, the cookie of a browser that has logged in before, or a bearer token, in force now. What the
request may do is decided later, by its page: here is decided for whom it waits.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from hkall_gateway.store import api_tokens, web_sessions
from hkall_gateway.store.api_tokens import hash_of
from hkall_gateway.store.engine.database import Store
from hkall_gateway.store.engine.db_errors import Unavailable
from hkall_gateway.store.queries.queries import Queries
from hkall_gateway.web.services import WebSettings
from hkall_gateway.web.sessions import BROWSER, COOKIE, in_force


class Share(StrEnum):
    """The callers that wait for each other, and for nobody else."""

    STAFF = "staff"
    """Members of staff, and programs with a token."""
    PATRONS = "patrons"
    STRANGERS = "strangers"


@dataclass(frozen=True, slots=True)
class WebCaller:
    """`row` names who has proven to be whom, for the limits of connections; "" for a stranger."""

    share: Share
    row: str = ""


STRANGER: Final = WebCaller(Share.STRANGERS)
_BEARER: Final = re.compile(r"bearer +([\w.~+/-]+=*)", re.IGNORECASE | re.ASCII)


class Callers:
    """Finds callers by their proofs. Used in the reactor's thread; a request without any costs no query."""

    def __init__(self, store: Store, settings: Callable[[], WebSettings], now: Callable[[], datetime]) -> None:
        self._store, self._settings, self._now = store, settings, now

    async def find(self, request: Any) -> WebCaller:
        """Return the caller of a request of twisted.web; a stranger also while the database is away."""
        cookies = [request.getCookie(name.encode()) for name in (COOKIE, BROWSER)]
        tokens = [hash_of(cookie.decode("utf-8", "surrogateescape")) for cookie in cookies if cookie]
        bearer = bearer_token((request.getHeader(b"authorization") or b"").decode("latin-1"))
        if not tokens and not bearer:
            return STRANGER
        try:
            return await self._store.read_inline(self._proven, tokens, bearer)
        except Unavailable:
            return STRANGER

    def _proven(self, unit: Queries, tokens: list[str], bearer: str) -> WebCaller:
        now, settings = self._now(), self._settings()
        for token in [*tokens, *([hash_of(bearer)] if bearer else ())]:
            if found := in_force(web_sessions.find(unit, token), settings, now):
                if found.login:
                    return WebCaller(Share.STAFF, f"staff {found.login}")
                return WebCaller(Share.PATRONS, f"patron {found.patron}")
        program = api_tokens.find(unit, hash_of(bearer)) if bearer else None
        if program and program.in_force(now):
            return WebCaller(Share.STAFF, f"token {program.name}")
        return STRANGER


def bearer_token(authorization: str) -> str:
    """Return the token of an Authorization header; "" for none."""
    given = _BEARER.fullmatch(authorization.strip())
    return given[1] if given else ""
