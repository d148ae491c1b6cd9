"""Login and logout of patrons by card and PIN. What strangers guess here locks no card at a terminal."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.db.web_sessions import PATRON
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Borrower
from hkall_gateway.web.i18n import gettext, ngettext
from hkall_gateway.web.paths import local_path
from hkall_gateway.web.patron import pins
from hkall_gateway.web.patron.reasons import told
from hkall_gateway.web.services import services
from hkall_gateway.web.sessions import PIN, count_login, known_browser, log_in, log_out, patron

PAGES = Blueprint("patron_login", __name__)


@dataclass(frozen=True, slots=True)
class LoginDenial:
    """A refused login: the words for the page, the HTTP status, and the seconds to wait, 0 = none."""

    words: str
    code: int
    wait_s: int = 0

    def answer(self, page: str) -> Response:
        """Return a page that says so as the response."""
        made = Response(page, self.code, content_type="text/html; charset=utf-8")
        if self.wait_s:
            made.headers["Retry-After"] = str(self.wait_s)
        return made


@PAGES.get("/login")
def form() -> str | Response:
    """The page; a logged-in patron is led on."""
    if patron():
        return redirect(_goal(request.args.get("next", "")), 303)
    return page()


@PAGES.post("/login")
def submit() -> Response:
    """Checks the PIN. An unknown card gets the same words, after the same time, as a wrong PIN."""
    card, goal = request.form.get("barcode", ""), request.form.get("next", "")
    if no := admit(card, request.form.get("pin", "")):
        return no.answer(page(no.words, card, goal))
    return redirect(_goal(goal), 303)


@PAGES.get("/logout")
def leave() -> str | Response:
    """A page with the form that logs out; a link alone does not."""
    return render_template("patron/logout.html") if patron() else redirect(url_for("patron_login.form"), 303)


@PAGES.post("/logout")
def logout() -> Response:
    """Ends the session. After a login by the identity provider the next page offers to end its session too."""
    found = patron()
    log_out()
    if found:
        services().circulation.ils.own_loans.forget(found.patron)
    return redirect(url_for("patron_login.form", left=found.source if found else None), 303)


def admit(card: str, pin: str) -> LoginDenial | None:
    """Log a patron in by card and PIN; return why not."""
    found = pins.check(card, pin, known_browser(card.strip()))
    if isinstance(found, Borrower):
        begin(found, PIN)
        return None
    if found.wait_s:
        words = ngettext("Too many tries. Wait %(num)d second.", "Too many tries. Wait %(num)d seconds.", found.wait_s)
        return LoginDenial(words % {"num": found.wait_s}, 429, found.wait_s)
    if found.why.why is Reason.TRY_AGAIN:
        return LoginDenial(gettext("Your card cannot be checked just now. Try again in a minute."), 503)
    return LoginDenial(_words(found.why), 401)


def begin(borrower: Borrower, source: str) -> None:
    """Begin the session of a patron. Raises Unavailable."""
    name = borrower.name.reveal() or borrower.name_zh.reveal()
    compared = pins.compared_hash(borrower) if source == PIN else ""
    log_in(PATRON, name=name, source=source, card=borrower.barcode, secret_hash=compared)
    count_login("patron", "admitted")


def page(error: str = "", card: str = "", goal: str | None = None) -> str:
    """Return the page, with what has gone wrong before. A PIN is never filled in."""
    goal = request.args.get("next", "") if goal is None else goal
    left = request.args.get("left", "")
    return render_template("patron/login.html", error=error, card=card[: pins.LONGEST], goal=goal, left=left, **ways())


def ways() -> dict[str, bool]:
    """Return the ways of a patron's login: `pin`, `sso`."""
    provider = services().settings().oidc
    return {"pin": services().circulation.ils.checks_web_pins, "sso": provider is not None and bool(provider.card_claim)}


def _words(no: Refused) -> str:
    found = told(no)
    return found.words if found else ""


def _goal(text: str) -> str:
    return local_path(text, url_for("record.page"))
