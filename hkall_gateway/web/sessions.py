"""Sessions: the cookie holds a random token, the database its hash, who it is, and until when.

A browser that is not logged in has no row: the secret of its forms is in a cookie of its own, which only this host can set
(`__Host-`). A login always gives a new token, so that a token planted before it opens nothing.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from hashlib import sha256
from typing import Any, Final, cast

from flask import Flask, Request, Response, session
from flask.sessions import SessionInterface, SessionMixin

from hkall_gateway.store import web_sessions
from hkall_gateway.store.engine.db_errors import Unavailable
from hkall_gateway.store.web_sessions import LONGEST, PATRON, SEEN_EVERY, STAFF, WebSession
from hkall_gateway.web.roles import StaffRole
from hkall_gateway.web.services import services

COOKIE: Final = "__Host-hkall"
VISITOR: Final = "__Host-hkall-visitor"
CSRF: Final = "csrf_token"
"""The key under which Flask-WTF keeps the secret of a session's forms."""
LOCAL: Final = "local"
"""The source of a session that a local account began."""
PIN: Final = "pin"
"""The source of a session that a patron's card and PIN began."""
OIDC: Final = "oidc"
"""The source of a session that the identity provider began."""
IN_BROWSERS: Final = (STAFF, PATRON)
"""The kinds of sessions that a cookie opens."""
REFRESH: Final = "X-Refresh"
"""The header with which the script reads a page again: nobody sits there, and the idle time goes on."""
MOST_SECRET: Final = 100
NO_SESSION: Final = ("static", "layout.brand", "layout.logo")
"""Endpoints that are the same for everybody; they read no session."""

_KEPT: Final[dict[str, Any]] = {"secure": True, "httponly": True, "samesite": "Lax", "path": "/"}


class BrowserSession(dict[str, Any], SessionMixin):
    """The session of one request. `row` is its row of the database, None for a visitor.

    `token` is to be set as a cookie, "" = unchanged; `over`: the cookie is to be deleted; `away`: the database did not answer.
    `visitor` is the secret that a visitor's cookie brought.
    """

    row: WebSession | None = None
    token = visitor = ""
    over = away = False


class Sessions(SessionInterface):
    """Finds the session of a request, and sets its cookies."""

    def open_session(self, app: Flask, request: Request) -> BrowserSession:  # noqa: ARG002  # Flask's own signature
        found = BrowserSession()
        if request.endpoint in NO_SESSION:
            return found
        token = request.cookies.get(COOKIE, "")
        try:
            found.row = _valid(token, used=REFRESH not in request.headers) if token else None
        except Unavailable:
            found.away = True
        if found.row:
            found[CSRF] = found.row.csrf
        else:
            found.over = bool(token) and not found.away
            found.visitor = _plain(request.cookies.get(VISITOR, ""))
            if found.visitor:
                found[CSRF] = found.visitor
        return found

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:  # noqa: ARG002
        assert isinstance(session, BrowserSession)
        if session.token:
            response.set_cookie(COOKIE, session.token, **_KEPT)
            response.delete_cookie(VISITOR, **_KEPT)
        elif session.over:
            response.delete_cookie(COOKIE, **_KEPT)
            response.headers["Clear-Site-Data"] = '"cache"'  # "back" would show what browsers keep in spite of no-store
        if session.row is None and session.get(CSRF, "") != session.visitor:
            response.set_cookie(VISITOR, session[CSRF], **_KEPT)


def current() -> BrowserSession:
    """Return the session of this request."""
    return cast(BrowserSession, session._get_current_object())  # type: ignore[attr-defined]  # a proxy of Werkzeug


def staff() -> WebSession | None:
    """Return the session if a member of staff is logged in."""
    row = current().row
    return row if row and row.kind == STAFF else None


def patron() -> WebSession | None:
    """Return the session if a patron is logged in."""
    row = current().row
    return row if row and row.kind == PATRON else None


def log_in(kind: str, *, name: str, source: str, login: str = "", card: str = "", role: StaffRole | None = None) -> None:
    """Begin a session with a new token, and end the one that the browser had. Raises Unavailable."""
    now, token = services().now(), secrets.token_urlsafe(32)
    named = (login, card, name, role.word if role else "", source)
    made = WebSession(_hash(token), kind, *named, secrets.token_urlsafe(32), now, now, now + LONGEST)
    own = current()
    services().bridge.run(web_sessions.begin, made, now, own.row.token_hash if own.row else "")
    own.row, own.token, own.over = made, token, False
    own[CSRF] = made.csrf


def log_out() -> None:
    """End the session of this request for good. Raises Unavailable."""
    own = current()
    if own.row:
        services().bridge.run(web_sessions.end, own.row.token_hash)
    own.row, own.over = None, True
    own.clear()


def _valid(token: str, *, used: bool) -> WebSession | None:
    """Return the row of a token if it is in force now.

    A local account must still be configured; its role is today's. A provider's login ends where the site has no provider, a
    patron's also where it no longer names cards.

    `used`: a person asks, so that the idle time begins again.
    """
    found = services().bridge.read(web_sessions.find, _hash(token))
    now = services().now()
    if found is None or found.kind not in IN_BROWSERS or found.ended(now):
        return None
    if found.kind == STAFF and found.source == LOCAL:
        account = services().settings().staff.get(found.login)
        if account is None:
            return None
        found = replace(found, role=account.role.word, name=account.name)
    if found.source == OIDC and not _by_provider(found.kind):
        return None
    if used and now - found.seen_at >= SEEN_EVERY:
        services().bridge.run(web_sessions.seen, found.token_hash, now)
    return found


def _by_provider(kind: str) -> bool:
    """Return whether the identity provider logs in people of this kind."""
    provider = services().settings().oidc
    return provider is not None and (kind == STAFF or bool(provider.card_claim))


def _plain(secret: str) -> str:
    """Return what a visitor's cookie brought if it may be a secret of ours, else ""."""
    return secret if secret.isascii() and len(secret) <= MOST_SECRET else ""


def _hash(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
