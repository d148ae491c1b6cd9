"""Login and logout of staff at the site's identity provider."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.db.web_sessions import STAFF
from hkall_gateway.web import oidc
from hkall_gateway.web.labels import SSO_CODES, SSO_WORDS
from hkall_gateway.web.oidc import Identified, OidcRefused, role_of
from hkall_gateway.web.paths import local_path
from hkall_gateway.web.services import services
from hkall_gateway.web.sessions import OIDC, count_login, log_in
from hkall_gateway.web.staff.login import page

PAGES = Blueprint("staff_oidc", __name__)

NO_ROLE: Final = "no_role"


@PAGES.get("/staff/login/sso")
def begin() -> Response:
    """Leads to the provider."""
    try:
        return oidc.lead(_callback(), local_path(request.args.get("next", ""), ""))
    except OidcRefused as refused:
        return _refused(refused.outcome, refused.why)


@PAGES.get("/staff/login/sso/back")
def back() -> Response:
    """The provider's answer: whom it has named, and with which role. One answer is taken once."""
    try:
        answer = _admitted(*oidc.returned(_callback()))
    except OidcRefused as refused:
        answer = _refused(refused.outcome, refused.why)
    return oidc.forget(answer)


@PAGES.get("/staff/logout/sso")
def end() -> Response:
    """Leads to the provider's own logout: at a shared counter the next person must not come in by the same name."""
    own = services().settings().public_url + url_for("staff_login.form")
    return oidc.leave(own)


def _admitted(person: Identified, goal: str) -> Response:
    provider = oidc.provider().settings
    role = role_of(person.values, provider.roles)
    if role is None:
        return _refused(NO_ROLE)
    log_in(STAFF, name=person.name, source=OIDC, login=person.login, role=role)
    count_login("staff", "admitted")
    return redirect(local_path(goal, url_for("dashboard.dashboard")), 303)


def _refused(outcome: str, why: str = "") -> Response:
    count_login("staff", outcome, why)
    return Response(page(SSO_WORDS[outcome]), SSO_CODES[outcome], content_type="text/html; charset=utf-8")


def _callback() -> str:
    """The address that is registered at the provider; not the one that the caller has named."""
    return services().settings().public_url + url_for("staff_oidc.back")
