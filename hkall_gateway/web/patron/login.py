"""Patron login and logout, by card and PIN or through the identity provider, and the login check for patron pages.

The pages and the API share one throttle. Wrong PINs on the web never lock a card at a terminal.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from flask import Blueprint, abort, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.circulation.ports import AWAY, BorrowerFacts
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.web_sessions import PATRON
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Borrower, Sensitive
from hkall_gateway.web import oidc
from hkall_gateway.web.i18n import gettext
from hkall_gateway.web.labels import patron_words
from hkall_gateway.web.limits import login_throttle, too_many_tries
from hkall_gateway.web.oidc import Identified, OidcRefused
from hkall_gateway.web.paths import local_path, way_back
from hkall_gateway.web.services import run, services
from hkall_gateway.web.sessions import OIDC, PIN, count_login, known_browser, log_in, log_out, patron

P = ParamSpec("P")
R = TypeVar("R")

PAGES = Blueprint("patron_login", __name__)

WHO: Final = "patron"
"""Actor in the journal for all actions of patrons on the web. The journal does not name the card."""


def needs_patron(page: Callable[P, R]) -> Callable[P, R | Response]:
    """Require a patron login for a page. Redirect other visitors to the login, which leads back to the page."""

    @wraps(page)
    def checked(*args: P.args, **named: P.kwargs) -> R | Response:
        if patron() is None:
            goal = way_back() if request.method == "GET" else url_for("record.page")  # a POST cannot be repeated
            return redirect(url_for("patron_login.form", next=goal), 303)
        return page(*args, **named)

    return checked


def own_card() -> str:
    """Return the card of the logged-in patron."""
    found = patron()
    assert found is not None, "asked only behind `needs_patron`"
    return found.patron


def facts_about(card: str, bib_id: str = "") -> BorrowerFacts:
    """Query the local system about a card and our copies of a title. Return AWAY if the local system does not answer."""
    found = run(services().circulation.ils.known(card, bib_id))
    return AWAY if isinstance(found, Refused) else found


def actor(message: str) -> Actor:
    """Return the patron as the actor of a command, for the journal."""
    return Actor(who=WHO, channel="web", message=message, corr=g.get("number", ""))


LONGEST: Final = 100


@dataclass(frozen=True, slots=True)
class PinRefused:
    """A refused login. `wait_s` is the number of seconds until the next attempt, or 0 if the login is not throttled."""

    why: Refused
    wait_s: int = 0

    @property
    def words(self) -> str:
        """Return the reason as a sentence for the login page."""
        if self.wait_s:
            return too_many_tries(self.wait_s)
        if self.why.why is Reason.TRY_AGAIN:
            return gettext("Your card cannot be checked just now. Try again in a minute.")
        return patron_words(self.why)

    def answer(self, page: str) -> Response:
        """Return `page` as the response, with the status for this refusal."""
        code = 429 if self.wait_s else 503 if self.why.why is Reason.TRY_AGAIN else 401
        headers = {"Retry-After": str(self.wait_s)} if self.wait_s else {}
        return Response(page, code, headers, content_type="text/html; charset=utf-8")


TOO_MANY: Final = Refused(why=Reason.TOO_MANY_WRONG_PINS)


def check(card: str, pin: str, browser: str = "") -> Borrower | PinRefused:
    """Return the patron for this card and PIN, or the refusal.

    An unknown card is refused like a wrong PIN, after the same time. `browser` identifies a browser in which the card's owner
    has logged in before, or is "".
    """
    card, address, wrong = card.strip()[:LONGEST], request.remote_addr or "", login_throttle(PATRON)
    if (wait_s := math.ceil(wrong.wait_s(address, card, browser))) > 0:
        count_login("patron", "throttled")
        return PinRefused(TOO_MANY, wait_s)
    found = run(services().circulation.ils.authenticate(card, Sensitive(pin[:LONGEST])))
    if isinstance(found, Borrower):
        wrong.right(address, card, browser)
        return found
    if found.why is Reason.TRY_AGAIN:
        count_login("patron", "ils_away")
    else:
        wrong.wrong(address, card, browser)
        count_login("patron", "wrong")
    return PinRefused(found)


def compared_hash(borrower: Borrower) -> str:
    """Return the hash against which a correct PIN was checked, or "" if the local system checked the PIN."""
    return borrower.pin_hash.reveal() if services().circulation.ils.compares_web_pins else ""


@PAGES.get("/login")
def form() -> str | Response:
    """Show the login page, or redirect a patron who is already logged in."""
    if patron():
        return redirect(_local_goal(request.args.get("next", "")), 303)
    return page()


@PAGES.post("/login")
def submit() -> Response:
    """Check card and PIN. An unknown card gets the same message, after the same time, as a wrong PIN."""
    card, goal = request.form.get("barcode", ""), request.form.get("next", "")
    if refusal := admit(card, request.form.get("pin", "")):
        return refusal.answer(page(refusal.words, card, goal))
    return redirect(_local_goal(goal), 303)


@PAGES.get("/logout")
def leave() -> str | Response:
    """Show the logout form. Following a link alone does not log out."""
    return render_template("patron/logout.html") if patron() else redirect(url_for("patron_login.form"), 303)


@PAGES.post("/logout")
def logout() -> Response:
    """End the session. After a provider login, the next page offers to log out at the identity provider too."""
    found = patron()
    log_out()
    if found:
        services().circulation.ils.forget_loans(found.patron)
    return redirect(url_for("patron_login.form", left=found.source if found else None), 303)


def admit(card: str, pin: str) -> PinRefused | None:
    """Log a patron in by card and PIN. Return None, or the refusal."""
    found = check(card, pin, known_browser(card.strip()))
    if isinstance(found, PinRefused):
        return found
    begin(found, PIN)
    return None


def begin(borrower: Borrower, source: str) -> None:
    """Start a session for a patron. Raises Unavailable."""
    name = borrower.name.reveal() or borrower.name_zh.reveal()
    compared = compared_hash(borrower) if source == PIN else ""
    log_in(PATRON, name=name, source=source, card=borrower.barcode, secret_hash=compared)
    count_login("patron", "admitted")


def page(error: str = "", card: str = "", goal: str | None = None) -> str:
    """Render the login page with an error message. A PIN is never filled in."""
    goal = request.args.get("next", "") if goal is None else goal
    left = request.args.get("left", "")
    return render_template("patron/login.html", error=error, card=card[:LONGEST], goal=goal, left=left, **ways())


def ways() -> dict[str, bool]:
    """Return whether patrons may log in by card and PIN (`pin`) and through the identity provider (`sso`)."""
    provider = services().settings().oidc
    return {"pin": services().circulation.ils.checks_web_pins, "sso": provider is not None and bool(provider.card_claim)}


def _local_goal(text: str) -> str:
    return local_path(text, url_for("record.page"))


def _admit_by_provider(person: Identified, goal: str) -> Response:
    found = run(services().circulation.ils.patron(person.card)) if person.card else None
    if found is None or isinstance(found, Refused):
        raise OidcRefused("ils_away" if found and found.why is Reason.TRY_AGAIN else "no_card")
    begin(found, OIDC)
    return redirect(_local_goal(goal), 303)


SSO: Final = oidc.login_pages("patron", "", _admit_by_provider, page)


@SSO.before_request
def offered() -> None:
    """Answer 404 if the site has no identity provider, or if the provider does not name cards."""
    if not ways()["sso"]:
        abort(404)
