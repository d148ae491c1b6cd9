"""Access to patrons' pages: a session of a patron."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from flask import g, redirect, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.circulation.ports import AWAY, BorrowerFacts
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.web.paths import way_back
from hkall_gateway.web.services import services
from hkall_gateway.web.sessions import patron

P = ParamSpec("P")
R = TypeVar("R")

WHO: Final = "patron"
"""The actor of what a patron does on the web: the card is in no journal line but the request's own."""


def needs_patron(page: Callable[P, R]) -> Callable[P, R | Response]:
    """Let patrons see a page; others come to it after the login."""

    @wraps(page)
    def checked(*args: P.args, **named: P.kwargs) -> R | Response:
        if patron() is None:
            goal = way_back() if request.method == "GET" else url_for("record.page")  # a POST is not repeated
            return redirect(url_for("patron_login.form", next=goal), 303)
        return page(*args, **named)

    return checked


def own_card() -> str:
    """Return the card of the logged-in patron."""
    found = patron()
    assert found is not None, "asked only behind `needs_patron`"
    return found.patron


def facts_about(card: str, bib_id: str = "") -> BorrowerFacts:
    """Return the facts of the library's own system about a card and our copies of a title; AWAY if it does not answer."""
    found = services().bridge.ask(services().circulation.ils.known(card, bib_id))
    return AWAY if isinstance(found, Refused) else found


def actor(message: str) -> Actor:
    """Return the patron as the actor of a command, for the journal."""
    return Actor(WHO, "web", message, g.get("number", ""))
