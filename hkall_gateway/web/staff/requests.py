"""/staff/requests finds a request, shows the history, and runs commands that the position and the user's role allow."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from flask import Blueprint, abort, redirect, render_template, url_for
from werkzeug.wrappers import Response

from hkall_gateway.circulation.idempotency import Overtaken
from hkall_gateway.circulation.results import Done, Refused
from hkall_gateway.circulation.staff import console, losses
from hkall_gateway.circulation.staff.actions import Act, Reopen
from hkall_gateway.circulation.staff.permitted import ACTIONS, REOPEN, ActionRow
from hkall_gateway.db.queries.request_search import FoundBy
from hkall_gateway.rules.dates import parse_day
from hkall_gateway.rules.plain_text import LONG, whole_number
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.i18n import N_, gettext
from hkall_gateway.web.incoming import cents_of, typed
from hkall_gateway.web.labels import DECLINES, category_words, rule_of, sentence
from hkall_gateway.web.services import execute
from hkall_gateway.web.sessions import actor, may, needs, staff_role
from hkall_gateway.web.staff import words as words
from hkall_gateway.web.staff.unsent import documents

PAGES = Blueprint("requests", __name__)

LONGEST: Final = 200
"""Maximum length of a search text, and of each form field of a command except the reason."""
RARE: Final = frozenset({"substitute", REOPEN, "settle", "overseas", "extend", "pin", "skip", "insert", "force"})
"""Commands that the page shows under "More"."""
ASKED_FIRST: Final = frozenset({"force", "settle", "lost"})
"""Commands for which the page's script asks for confirmation."""
_ROWS: Final = {row.name: row for row in ACTIONS}

# fmt: off
FOUND_BY: Final = {
    FoundBy.NUMBER:  N_("Number"),
    FoundBy.BARCODE: N_("Barcode"),
    FoundBy.CARD:    N_("Card"),
    FoundBy.TITLE:   N_("Title"),
}
# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A submitted form that was not executed, because of an error (with its rule) or a change since the page was rendered."""

    fields: dict[str, str] = field(default_factory=dict)
    error: str = ""
    rule: str = ""
    changed: Overtaken | None = None


NOTES: Final = MappingProxyType(
    {"no_price": losses.NO_PRICE_KNOWN, "priced": losses.PRICED_BEFORE, "not_theirs": losses.NOT_THEIRS}
)
"""Notes from a command about a loss, by the value that stands for the note in a URL."""


def note_of(answer: object) -> str | None:
    """Return the value that stands in a URL for the note of a result, or None."""
    return next((word for word, note in NOTES.items() if isinstance(answer, Done) and answer.note == note), None)


@PAGES.get("/staff/requests")
@needs(StaffRole.VIEWER)
def find() -> str:
    """Show the empty search form."""
    return render_template("staff/requests.html", q="", matches=None, found_by=FOUND_BY)


@PAGES.post("/staff/requests")
@needs(StaffRole.VIEWER)
def found() -> str | Response:
    """Show the matches, or redirect to a single one. No URL contains the typed text, which may be a card."""
    words = typed("q", LONGEST)
    matches = execute(console.search_requests(words, staff_role()))
    if len(matches) == 1:
        return redirect(url_for("requests.one", number=matches[0].request.id), 303)
    return render_template("staff/requests.html", q=words, matches=matches, found_by=FOUND_BY)


@PAGES.get("/staff/requests/<number>")
@needs(StaffRole.VIEWER)
def one(number: str) -> str:
    """Show everything about one request. `?done=cancel` reports that the command `cancel` was run."""
    return _render_request(number, Given())


@PAGES.post("/staff/requests/<number>/<name>")
@needs(Act)
def act(number: str, name: str) -> Response | tuple[str, int]:
    """Run one staff command. If the request has changed since the page was rendered, show the change instead."""
    row = _ROWS.get(name) or abort(404)
    if not may(row.role):
        abort(403)
    given = {one: typed(one, LONGEST) for one in (*row.takes, "dollars")} | {"reason": typed("reason")}
    if (code := typed("code")) in DECLINES:
        given["reason"] = code or given["reason"]
    command = _make_command(number, row, given)
    if isinstance(command, str):
        return _render_request(number, Given(fields=given, error=command)), 422
    newest = whole_number(typed("seen"), LONG) or 0
    answer = execute(command, since=newest)
    if isinstance(answer, Overtaken):
        return _render_request(number, Given(fields=given, changed=answer)), 409
    if isinstance(answer, Refused):
        return _render_request(number, Given(fields=given, error=sentence(answer), rule=rule_of(answer))), 422
    there = getattr(answer, "request", "") or number  # `reopen` places a new request
    again, note = getattr(answer, "again", False), note_of(answer)
    return redirect(url_for("requests.one", number=there, done=name, again=1 if again else None, note=note), 303)


def _make_command(number: str, row: ActionRow, given: dict[str, str]) -> Act | Reopen | str:
    """Return the command for the submitted form fields, or an error message."""
    on, to = given.get("on", ""), given.get("to", "")
    agency, slash, barcode = (given.get("item", "") or given.get("lender", "")).partition("/")
    named = (agency, barcode) if slash or "lender" in row.takes else ("", agency)
    try:
        day = parse_day(on) if on else None
    except ValueError:
        return gettext("This is no date.")
    cents, price = None, (given["dollars"] or given["cents"]) if "cents" in row.takes else ""
    if price:
        cents = cents_of(price) if given["dollars"] else whole_number(price)
        if cents is None:
            return gettext("This is no amount.")
    position = Position(to) if to in tuple(Position) else None
    by, reason = actor(row.name), given["reason"]
    if row.name == REOPEN:
        return Reopen(
            by=by, request=number, barcode=named[1], agency=named[0], reason=reason, on=day, cents=cents, position=position
        )
    return Act(
        by=by,
        request=number,
        barcode=named[1],
        agency=named[0],
        reason=reason,
        on=day,
        cents=cents,
        position=position,
        action=row.name,
    )


def _render_request(number: str, given: Given) -> str:
    page = execute(console.request_page(number, staff_role()))
    if isinstance(page, Refused):
        abort(404)
    return render_template(
        "staff/request.html",
        page=page,
        given=given,
        documents=documents(page.sent) if page.named else {},
        patron_number=page.patron_number,
        w=words,
        notes=NOTES,
        asked_first=ASKED_FIRST,
        rare=RARE,
        category=category_words(page.category),
    )
