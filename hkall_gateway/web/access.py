"""Authorization of staff's pages: a check in front of a page's function."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import abort, g, redirect, url_for
from werkzeug.wrappers import Response

from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.web.paths import way_back
from hkall_gateway.web.roles import StaffRole
from hkall_gateway.web.sessions import staff

P = ParamSpec("P")
R = TypeVar("R")


def needs(role: StaffRole) -> Callable[[Callable[P, R]], Callable[P, R | Response]]:
    """Let staff of this role, or of a higher one, see the page. Others: without a session to the login page, else 403."""

    def around(page: Callable[P, R]) -> Callable[P, R | Response]:
        @wraps(page)
        def checked(*args: P.args, **named: P.kwargs) -> R | Response:
            if staff() is None:
                return redirect(url_for("staff_login.form", next=way_back()), 303)
            if not may(role):
                abort(403)
            return page(*args, **named)

        return checked

    return around


def may(role: StaffRole) -> bool:
    """Return whether the logged-in member of staff has this role, or a higher one."""
    found = staff()
    return found is not None and StaffRole.of(found.role) >= role


def staff_role() -> StaffRole:
    """Return the role of the logged-in member of staff."""
    found = staff()
    assert found is not None, "a page that shows data is behind `needs`"
    return StaffRole.of(found.role)


def actor(message: str = "") -> Actor:
    """Return the logged-in member of staff as the actor for the journal."""
    found = staff()
    assert found is not None, "a page that acts is behind `needs`"
    return Actor(found.login, "web", message, g.get("number", ""))
