"""Login and logout of patrons at the site's identity provider, which names their card."""

from __future__ import annotations

from flask import Blueprint, abort, redirect, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.web import oidc
from hkall_gateway.web.i18n import gettext
from hkall_gateway.web.labels import SSO_CODES, SSO_WORDS
from hkall_gateway.web.oidc import Identified, OidcRefused
from hkall_gateway.web.paths import local_path
from hkall_gateway.web.patron.login import LoginDenial, begin, page, ways
from hkall_gateway.web.services import services
from hkall_gateway.web.sessions import OIDC, count_login

PAGES = Blueprint("patron_oidc", __name__)


@PAGES.before_request
def offered() -> None:
    """404 where the provider names no cards."""
    if not ways()["sso"]:
        abort(404)


@PAGES.get("/login/sso")
def lead() -> Response:
    """Leads to the provider."""
    try:
        return oidc.lead(_callback(), local_path(request.args.get("next", ""), ""))
    except OidcRefused as refused:
        return _refused(refused.outcome, refused.why)


@PAGES.get("/login/sso/back")
def back() -> Response:
    """The provider's answer, with the card. One answer is taken once."""
    try:
        answer = _admitted(*oidc.returned(_callback()))
    except OidcRefused as refused:
        answer = _refused(refused.outcome, refused.why)
    return oidc.forget(answer)


@PAGES.get("/logout/sso")
def end() -> Response:
    """Leads to the provider's own logout: at a shared computer the next person must not come in by the same name."""
    own = services().settings().public_url + url_for("patron_login.form")
    return oidc.leave(own)


def _admitted(person: Identified, goal: str) -> Response:
    found = services().bridge.ask(services().circulation.ils.patron(person.card)) if person.card else None
    if found is None or isinstance(found, Refused):
        return _refused("ils_away" if found and found.why is Reason.TRY_AGAIN else "no_card")
    begin(found, OIDC)
    return redirect(local_path(goal, url_for("record.page")), 303)


def _refused(outcome: str, why: str = "") -> Response:
    count_login("patron", outcome, why)
    words = gettext(SSO_WORDS[outcome])
    return LoginDenial(words, SSO_CODES[outcome]).answer(page(words))


def _callback() -> str:
    """The address that is registered at the provider; not the one that the caller has named."""
    return services().settings().public_url + url_for("patron_oidc.back")
