"""Login and logout of staff at the site's identity provider."""

from __future__ import annotations

import threading
from typing import Any, Final

import structlog
from flask import Blueprint, abort, current_app, redirect, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.store.web_sessions import STAFF
from hkall_gateway.web.i18n import N_
from hkall_gateway.web.oidc import COOKIE, COOKIE_S, Identified, OidcRefused, Provider, from_cookie, role_of, to_cookie
from hkall_gateway.web.paths import local_path
from hkall_gateway.web.services import services
from hkall_gateway.web.sessions import OIDC, log_in
from hkall_gateway.web.staff.login import page

LOG = structlog.get_logger()

PAGES = Blueprint("staff_oidc", __name__)

NO_ROLE: Final = "no_role"
# fmt: off
WORDS: Final = {
    "provider_down": N_("The library's login does not answer. Try again in a minute."),
    "state":         N_("This login was begun elsewhere, or too long ago. Begin again."),
    "answer":        N_("The library's login gave no answer that we can trust. Begin again."),
    NO_ROLE:         N_("Your account has no role at this console. Ask your supervisor for one."),
}
"""What the login page says, by the outcome."""
# fmt: on
CODES: Final = {"provider_down": 503, "state": 400, "answer": 401, NO_ROLE: 403}
_KEPT: Final[dict[str, Any]] = {"secure": True, "httponly": True, "samesite": "Lax", "path": "/"}
_PROVIDER: Final = "hkall_oidc"
_MAKING: Final = threading.Lock()


@PAGES.get("/staff/login/sso")
def begin() -> Response:
    """Leads to the provider."""
    try:
        with services().bridge.waiting():
            address, pending = _provider().begin(_callback(), local_path(request.args.get("next", ""), ""))
    except OidcRefused as refused:
        return _refused(refused.outcome, refused.why)
    answer = redirect(address, 303)
    answer.set_cookie(COOKIE, to_cookie(pending), max_age=COOKIE_S, **_KEPT)
    return answer


@PAGES.get("/staff/login/sso/back")
def back() -> Response:
    """The provider's answer: whom it has named, and with which role. One answer is taken once."""
    pending = from_cookie(request.cookies.get(COOKIE, ""))
    try:
        with services().bridge.waiting():
            person = _provider().identify(request.args, pending, _callback())
    except OidcRefused as refused:
        answer = _refused(refused.outcome, refused.why)
    else:
        answer = _admitted(person, pending.goal if pending else "")
    answer.delete_cookie(COOKIE, **_KEPT)
    return answer


@PAGES.get("/staff/logout/sso")
def end() -> Response:
    """Leads to the provider's own logout: at a shared counter the next person must not come in by the same name."""
    own = services().settings().public_url + url_for("staff_login.form")
    with services().bridge.waiting():
        address = _provider().end_address(own)
    return redirect(address or url_for("staff_login.form"), 303)


def _admitted(person: Identified, goal: str) -> Response:
    provider = _provider().settings
    role = role_of(person.values, provider.roles)
    if role is None:
        return _refused(NO_ROLE)
    log_in(STAFF, name=person.name, source=OIDC, login=person.login, role=role)
    services().metrics.web_logins.labels("staff", "admitted").inc()
    return redirect(local_path(goal, url_for("dashboard.dashboard")), 303)


def _refused(outcome: str, why: str = "") -> Response:
    services().metrics.web_logins.labels("staff", outcome).inc()
    LOG.warning("web.login_refused", who="staff", outcome=outcome, why=why, peer=request.remote_addr or "")
    return Response(page(WORDS[outcome]), CODES[outcome], content_type="text/html; charset=utf-8")


def _callback() -> str:
    """The address that is registered at the provider; not the one that the caller has named."""
    return services().settings().public_url + url_for("staff_oidc.back")


def _provider() -> Provider:
    """Return the provider of the present configuration; 404 where the site has none."""
    wanted = services().settings().oidc
    if wanted is None:
        abort(404)
    with _MAKING:
        found: Provider | None = current_app.extensions.get(_PROVIDER)
        if found is None or found.settings != wanted:
            found = current_app.extensions[_PROVIDER] = Provider(wanted)
    return found
