"""Staff login and logout, with a local account or through the site's identity provider."""

from __future__ import annotations

import math
from typing import Final

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.db.web_sessions import STAFF
from hkall_gateway.net.secrets import DECOY, matches
from hkall_gateway.web import oidc
from hkall_gateway.web.i18n import gettext
from hkall_gateway.web.incoming import typed
from hkall_gateway.web.limits import login_throttle, too_many_tries
from hkall_gateway.web.oidc import Identified, OidcRefused, role_of
from hkall_gateway.web.paths import local_path
from hkall_gateway.web.services import services
from hkall_gateway.web.sessions import LOCAL, OIDC, count_login, known_browser, log_in, log_out, staff

PAGES = Blueprint("staff_login", __name__)


@PAGES.get("/staff/login")
def form() -> str | Response:
    """Show the login page, or redirect a member of staff who is already logged in."""
    if staff():
        return redirect(_local_goal(request.args.get("next", "")), 303)
    return page()


@PAGES.post("/staff/login")
def submit() -> Response | tuple[str, int] | tuple[str, int, dict[str, str]]:
    """Check the password. The response to a wrong password does not reveal whether the login exists."""
    login, password = typed("login"), request.form.get("password", "")
    source, throttle = (request.remote_addr or "", login, known_browser(login)), login_throttle(STAFF)
    if (wait_s := math.ceil(throttle.wait_s(*source))) > 0:
        count_login("staff", "throttled")
        return page(too_many_tries(wait_s)), 429, {"Retry-After": str(wait_s)}
    account = services().settings().staff.get(login)
    # Check an unknown login against a decoy hash, so that the response takes as long as for a known login.
    right = matches(account.secret_hash if account else DECOY, password)
    if account is None or not right:
        throttle.wrong(*source)
        count_login("staff", "wrong")
        return page(gettext("Login or password is wrong.")), 401
    throttle.right(*source)
    log_in(STAFF, name=account.name, source=LOCAL, login=account.login, role=account.role, secret_hash=account.secret_hash)
    count_login("staff", "admitted")
    return redirect(_local_goal(request.form.get("next", "")), 303)


@PAGES.post("/staff/logout")
def logout() -> Response:
    """End the session. After a provider login, the next page offers to log out at the identity provider too."""
    found = staff()
    log_out()
    left = OIDC if found and found.source == OIDC else None
    return redirect(url_for("staff_login.form", left=left), 303)


def page(error: str = "") -> str:
    """Render the login page with an error message. A password is never filled in."""
    settings, goal = services().settings(), request.values.get("next", "")
    offered = {"sso": settings.oidc is not None, "local": bool(settings.staff) or settings.oidc is None}
    left = request.args.get("left") == OIDC
    return render_template("staff/login.html", login=typed("login"), goal=goal, error=error, left=left, **offered)


def _local_goal(text: str) -> str:
    return local_path(text, url_for("dashboard.dashboard"))


def _admit_by_provider(person: Identified, goal: str) -> Response:
    role = role_of(person.values, oidc.provider().settings.roles)
    if role is None:
        raise OidcRefused("no_role")
    log_in(STAFF, name=person.name, source=OIDC, login=person.login, role=role)
    count_login("staff", "admitted")
    return redirect(_local_goal(goal), 303)


SSO: Final = oidc.login_pages("staff", "/staff", _admit_by_provider, page)
