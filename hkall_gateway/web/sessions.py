"""Login sessions. The cookie holds a random token; the database holds the token's hash, the person and the expiry.

A visitor without a login has no row in the database. A separate host-only cookie (`__Host-`) holds the secret for the
visitor's forms. Every login issues a new token, so that a token planted beforehand is useless. Another cookie, which remains
after the logout, proves that a person has logged in with this browser before, so that wrong guesses elsewhere do not lock that
person out.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import wraps
from typing import Final, ParamSpec, TypeVar, cast

import structlog
from flask import Flask, Request, Response, abort, g, redirect, request, session, url_for
from flask.sessions import SessionInterface, SessionMixin
from werkzeug.wrappers import Response as Redirect

from hkall_gateway.circulation.registry import staff_role_of
from hkall_gateway.db import web_sessions
from hkall_gateway.db.api_tokens import hash_of
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.web_sessions import BROWSER_LONGEST, LONGEST, PATRON, SEEN_EVERY, STAFF, WebSession, digest
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.web.paths import delete_own_cookie, set_own_cookie, way_back
from hkall_gateway.web.services import WebSettings, services

LOG = structlog.get_logger()


def count_login(who: str, outcome: str, why: str = "") -> None:
    """Count a login by `who` ("staff" or "patron"). Log a refused login, without the name or card."""
    services().metrics.web_logins.labels(who, outcome).inc()
    if outcome != "admitted":
        LOG.warning("web.login_refused", who=who, outcome=outcome, why=why, peer=request.remote_addr or "")


COOKIE: Final = "__Host-hkall"
VISITOR: Final = "__Host-hkall-visitor"
BROWSER: Final = "__Host-hkall-browser"
CSRF: Final = "csrf_token"
"""Key under which Flask-WTF keeps the form secret in a session."""
LOCAL: Final = "local"
"""`source` of a session that was started with a local account."""
PIN: Final = "pin"
"""`source` of a session that was started with card and PIN."""
OIDC: Final = "oidc"
"""`source` of a session that was started through the identity provider."""
IN_BROWSERS: Final = (STAFF, PATRON)
"""Kinds of sessions that a cookie can open."""
REFRESH: Final = "X-Refresh"
"""Header with which the page's script marks an automatic refresh, which does not count as activity."""
MOST_SECRET: Final = 100
NO_SESSION: Final = ("static", "layout.brand", "layout.logo")
"""Endpoints that serve the same response to everybody and therefore need no session."""


class BrowserSession(dict[str, str], SessionMixin):
    """The session of one request.

    Attributes:
        row: Session row in the database, or None for a visitor.
        browser: Row that proves an earlier login with this browser, or None while somebody is logged in.
        token: New token for the session cookie, or "" to leave the cookie unchanged.
        visitor: Form secret from a visitor's cookie.
        browser_token: New token for the cookie that proves a login with this browser.
        over: Whether to delete the session cookie.
        away: Whether the database did not answer.
    """

    row: WebSession | None = None
    browser: WebSession | None = None
    token = visitor = browser_token = ""
    over = away = False


class Sessions(SessionInterface):
    """Flask session interface that opens the session for a request and sets the session's cookies."""

    def open_session(self, app: Flask, request: Request) -> BrowserSession:  # noqa: ARG002  # Flask's own signature
        """Find the session for the request's cookies. Set `away` if the database does not answer."""
        found = BrowserSession()
        if request.endpoint in NO_SESSION:
            return found
        token = request.cookies.get(COOKIE, "")
        try:
            found.row = find_in_force(token, *IN_BROWSERS)
            now = services().now()
            if found.row and REFRESH not in request.headers and now - found.row.seen_at >= SEEN_EVERY:
                services().visits.mark_seen(found.row.token_hash)
            found.browser = None if found.row else find_in_force(request.cookies.get(BROWSER, ""), web_sessions.BROWSER)
        except Unavailable:
            found.away = True
        if found.row:
            found[CSRF] = found.row.csrf
        else:
            found.over = bool(token) and not found.away
            secret = request.cookies.get(VISITOR, "")
            if secret and secret.isascii() and len(secret) <= MOST_SECRET:  # only the format can be checked
                found.visitor = found[CSRF] = secret
        return found

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:  # noqa: ARG002
        """Set or delete cookies if the session has begun or ended."""
        assert isinstance(session, BrowserSession)
        if session.token:
            set_own_cookie(response, COOKIE, session.token)
            delete_own_cookie(response, VISITOR)
            set_own_cookie(response, BROWSER, session.browser_token, max_age=BROWSER_LONGEST)
        elif session.over:
            delete_own_cookie(response, COOKIE)
            response.headers["Clear-Site-Data"] = '"cache"'  # browsers keep pages for the back button despite no-store
        if session.row is None and session.get(CSRF, "") != session.visitor:
            set_own_cookie(response, VISITOR, session[CSRF])


def current() -> BrowserSession:
    """Return the session of this request."""
    return cast(BrowserSession, session._get_current_object())  # type: ignore[attr-defined]  # `session` is a proxy


def staff() -> WebSession | None:
    """Return the session if a member of staff is logged in, else None."""
    row = current().row
    return row if row and row.kind == STAFF else None


def patron() -> WebSession | None:
    """Return the session if a patron is logged in, else None."""
    row = current().row
    return row if row and row.kind == PATRON else None


def log_in(
    kind: str,
    *,
    name: str,
    source: str,
    login: str = "",
    card: str = "",
    role: StaffRole | None = None,
    secret_hash: str = "",
) -> None:
    """Start a session with a new token, and end the browser's previous session. Raises Unavailable.

    `secret_hash` is the stored hash of the checked PIN or password, or "". The session ends when the stored hash changes.
    """
    now, token, browser_token = services().now(), secrets.token_urlsafe(32), secrets.token_urlsafe(32)
    made = WebSession(
        token_hash=hash_of(token),
        kind=kind,
        login=login,
        patron=card,
        name=name,
        role=role.word if role else "",
        source=source,
        csrf=secrets.token_urlsafe(32),
        created_at=now,
        seen_at=now,
        ends_at=now + LONGEST,
        credential=digest(secret_hash),
    )
    browser = replace(made, token_hash=hash_of(browser_token), kind=web_sessions.BROWSER, ends_at=now + BROWSER_LONGEST)
    browser = replace(browser, name="", role="", csrf="")
    visit, former = current(), request.cookies.get(BROWSER, "")
    services().visits.begin(
        made,
        browser,
        ended=visit.row.token_hash if visit.row else "",
        former_browser=hash_of(former) if former else "",
    )
    visit.row, visit.token, visit.browser_token, visit.over = made, token, browser_token, False
    visit[CSRF] = made.csrf


def known_browser(name: str) -> str:
    """Return the browser's token hash if the owner of the login or card `name` has used this browser before, else ""."""
    found = current().browser
    return found.token_hash if found and name.casefold() in {found.login.casefold(), found.patron.casefold()} - {""} else ""


def caller_name(session: WebSession) -> str:
    """Return the key under which limits count the person of a session, in whatever network."""
    return f"staff {session.login}" if session.login else f"patron {session.patron}"


def known_caller() -> str:
    """Return the key of the person who is logged in, or has logged in with this browser before, else ""."""
    session = current().row or current().browser
    return caller_name(session) if session else ""


def log_out() -> None:
    """End the session of this request. Raises Unavailable."""
    visit = current()
    if visit.row:
        services().visits.end(visit.row.token_hash)
    visit.row, visit.over = None, True
    visit.clear()


def in_force(found: WebSession | None, settings: WebSettings, now: datetime) -> WebSession | None:
    """Return a session with the person's current role and name, or None if the session is no longer valid.

    A local account must still be configured, with the same password. A provider session ends if the site no longer configures
    an identity provider. A patron's provider session also ends if the provider no longer names cards.
    """
    if found is None or found.ended(now):
        return None
    if found.source == OIDC:
        provider = settings.oidc
        return found if provider is not None and (found.login or provider.card_claim) else None
    if not found.login:
        return found
    account = settings.staff.get(found.login)
    if account is None or found.credential not in ("", digest(account.secret_hash)):
        return None
    return replace(found, role=account.role.word, name=account.name)


def find_in_force(token: str, *kinds: str) -> WebSession | None:
    """Return the session for a token if the session is valid and has one of `kinds`, else None. Raises Unavailable."""
    web = services()
    found = in_force(web.visits.find_session(hash_of(token)), web.settings(), web.now()) if token else None
    return found if found and found.kind in kinds else None


P = ParamSpec("P")
R = TypeVar("R")


def needs(required: StaffRole | type[object]) -> Callable[[Callable[P, R]], Callable[P, R | Redirect]]:
    """Require a staff role for a page. Redirect a stranger to the login. Answer 403 for a lower role.

    Args:
        required: The lowest role, or the command that the page executes, whose row of the registry names it.
    """
    role = required if isinstance(required, StaffRole) else staff_role_of(required)

    def around(page: Callable[P, R]) -> Callable[P, R | Redirect]:
        @wraps(page)
        def checked(*args: P.args, **named: P.kwargs) -> R | Redirect:
            if staff() is None:
                return redirect(url_for("staff_login.form", next=way_back()), 303)
            if not may(role):
                abort(403)
            return page(*args, **named)

        return checked

    return around


def may(role: StaffRole) -> bool:
    """Check whether a member of staff with at least this role is logged in."""
    found = staff()
    return found is not None and StaffRole.of(found.role) >= role


def staff_session() -> WebSession:
    """Return the session of the logged-in member of staff. Call it only on a page behind `needs`."""
    found = staff()
    assert found is not None, "the page is behind `needs`"
    return found


def staff_role() -> StaffRole:
    """Return the role of the logged-in member of staff."""
    return StaffRole.of(staff_session().role)


def actor(message: str = "") -> Actor:
    """Return the logged-in member of staff as the actor for the journal."""
    return Actor(who=staff_session().login, channel="web", message=message, corr=g.get("number", ""))
