"""Pages about one patron: loans, charges, export and erasure. URLs identify the patron by a random number."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.circulation import queries
from hkall_gateway.circulation.borrowing import Requested, RequestTitle
from hkall_gateway.circulation.fines import Paid, Pay, Refund, Refunded
from hkall_gateway.circulation.results import Done, Refused
from hkall_gateway.circulation.staff import console, patron_page
from hkall_gateway.circulation.staff.actions import Act
from hkall_gateway.circulation.staff.patron_page import PatronPage, SeePatronPage
from hkall_gateway.circulation.titles import search_titles, see_title
from hkall_gateway.db.privacy import person_file
from hkall_gateway.db.privacy.person_file import NotDone, Records
from hkall_gateway.db.search.searching import FoundTitle, FoundTitles
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Borrower, Title
from hkall_gateway.web.i18n import LANGUAGES, gettext
from hkall_gateway.web.incoming import FORM_KEY, cents_of, typed
from hkall_gateway.web.labels import COMMANDS, category_words, rule_of, sentence
from hkall_gateway.web.services import execute, services
from hkall_gateway.web.sessions import actor, may, needs, staff_role
from hkall_gateway.web.staff import requests

PAGES = Blueprint("patrons", __name__)

FIELDS: Final = ("q", "bib_id", "volume", "pickup", "amount", "fine")


@PAGES.get("/staff/patrons")
@needs(StaffRole.CLERK)
def search() -> str:
    """Show the form to search for a patron by card or name."""
    return _render_search()


@PAGES.post("/staff/patrons")
@needs(StaffRole.CLERK)
def find() -> str | Response | tuple[str, int]:
    """Find patrons by card or name, else requests. Redirect to a single match. No URL contains the typed text."""
    words = typed("q", 100)
    if not words:
        return _render_search(gettext("Type a card or a name.")), 400
    known = execute(patron_page.find_patrons(words))
    if len(known) == 1:
        return _redirect_to_patron(_number_for(known[0].barcode))
    if known:
        rows = [
            {
                "number": _number_for(one.barcode),
                "card": one.barcode,
                "name": _full_name(one),
                "category": category_words(one.category),
            }
            for one in known
        ]
        return _render_search(words=words, rows=rows, most=len(known) == patron_page.MOST)
    if not execute(patron_page.has_records(words)) and execute(console.search_requests(words, staff_role())):
        return requests.found()
    # The card was not loaded, but the local system may know the card, or there may be open records about the card.
    if " " not in words and (execute(patron_page.has_records(words)) or ((seen := _see_patron(words)) and seen.borrower)):
        return _redirect_to_patron(_number_for(words))
    return _render_search(gettext("Nobody is found by this card or name."), words=words), 404


@PAGES.get("/staff/patrons/<number>")
@needs(StaffRole.CLERK)
def page(number: str) -> str:
    """Show everything about one patron."""
    return _render_patron(number, _find_card(number))


@PAGES.post("/staff/patrons/<number>/request")
@needs(RequestTitle)
def place(number: str) -> Response | str | tuple[str, int]:
    """Search for a title, or request it for the patron. A second request for a title is placed once staff say so (R11a)."""
    card, form = _find_card(number), request.form
    command = RequestTitle(
        by=actor("place"),
        patron=card,
        bib_id=typed("bib_id"),
        volume=typed("volume"),
        pickup_location=typed("pickup"),
        staff=True,
        asks_first="another" not in form,
    )
    if not command.bib_id:
        return _render_patron(number, card, form=form, titles=_find_titles(typed("q", 200)))
    outcome = execute(command)
    if isinstance(outcome, Refused):
        asks = outcome.why is Reason.DUPLICATE_REQUEST
        return _render_patron(number, card, refused=None if asks else outcome, form=form, asks_another=asks), 409
    assert isinstance(outcome, Requested)
    return _redirect_to_patron(number, placed=outcome.request)


def _find_titles(words: str) -> Sequence[FoundTitle | Title]:
    """Return the titles with these words, or the title with this number."""
    found = execute(search_titles(words))
    if isinstance(found, FoundTitles) and found.titles:
        return found.titles
    return [seen.title] if (seen := execute(see_title(words))) else []


@PAGES.post("/staff/patrons/<number>/act")
@needs(Act)
def act(number: str) -> Response | tuple[str, int]:
    """Renew a loan of the patron, or declare it lost and, with `paid`, take what is charged for it."""
    card, name, price = _find_card(number), typed("action"), typed("dollars")
    loan = execute(queries.find_request(typed("request")))
    if name not in {"renew", "lost"} or loan is None or loan.patron != card:
        abort(404)
    cents = cents_of(price) if price else None
    if price and cents is None:
        return _render_patron(number, card, error=gettext("This is no amount.")), 400
    payer, transaction = (card, f"{typed(FORM_KEY)} {loan.id}") if "paid" in request.form else ("", "")
    outcome = execute(Act(by=actor(name), request=loan.id, cents=cents, action=name, card=payer, transaction_id=transaction))
    if isinstance(outcome, Refused):
        return _render_patron(number, card, refused=outcome), 409
    paid = str(outcome.cents) if payer and isinstance(outcome, Done) and outcome.cents else None
    return _redirect_to_patron(number, done=name, paid=paid, note=requests.note_of(outcome))


@PAGES.post("/staff/patrons/<number>/pay")
@needs(Pay)
def pay(number: str) -> Response | tuple[str, int]:
    """Record a payment, for one charge or for the oldest charges first. A form that is submitted twice is recorded once."""
    card, cents, fine = _find_card(number), cents_of(typed("amount")), typed("fine")
    if not cents:
        return _render_patron(number, card, error=gettext("Type an amount, like 12.50."), form=request.form), 400
    command = Pay(by=actor("pay"), card=card, cents=cents, transaction_id=typed(FORM_KEY), fine=whole_number(fine))
    outcome = execute(command)
    if isinstance(outcome, Refused):
        return _render_patron(number, card, refused=outcome, form=request.form), 409
    assert isinstance(outcome, Paid)
    return _redirect_to_patron(number, paid=str(outcome.cents))


@PAGES.post("/staff/patrons/<number>/refund")
@needs(Refund)
def refund(number: str) -> Response | tuple[str, int]:
    """Record money that the patron got back. A form that is submitted twice is recorded once."""
    card = _find_card(number)
    cents = cents_of(typed("amount"))
    if not cents:
        return _render_patron(number, card, error=gettext("Type an amount, like 12.50.")), 400
    command = Refund(by=actor("refund"), card=card, cents=cents, transaction_id=typed(FORM_KEY))
    outcome = execute(command)
    if isinstance(outcome, Refused):
        return _render_patron(number, card, refused=outcome), 409
    assert isinstance(outcome, Refunded)
    return _redirect_to_patron(number, refunded=str(outcome.cents))


@PAGES.post("/staff/patrons/<number>/export")
@needs(StaffRole.SUPERVISOR)
def export(number: str) -> Response | tuple[str, int]:
    """Download everything that any table or archive contains about the person, as JSON."""
    card, web = _find_card(number), services()
    try:
        found = person_file.export(_record_stores(), card, web.now())
    except NotDone as not_done:
        return _render_patron(number, card, error=str(not_done)), 409
    text = json.dumps(
        found, default=lambda one: one.isoformat() if isinstance(one, date) else str(one), ensure_ascii=False, indent=1
    )
    named = {"Content-Disposition": f'attachment; filename="patron-{number}.json"'}
    return Response(text, headers=named, content_type="application/json; charset=utf-8")


@PAGES.post("/staff/patrons/<number>/erase")
@needs(StaffRole.SUPERVISOR)
def erase(number: str) -> str | Response | tuple[str, int]:
    """Show how many rows would be erased. With `apply`, erase them. List the rows that must remain, and until when."""
    card, reason, web = _find_card(number), typed("reason"), services()
    if not reason:
        return _render_patron(number, card, refused=Refused(why=Reason.REASON_NEEDED)), 400
    records = _record_stores()
    if records.erased_file is None:
        return _render_patron(
            number, card, error=gettext("Name [privacy] erased_file first: else a restored backup brings back who was erased.")
        ), 409
    try:
        who, rows = person_file.find(records, card)
        if "apply" not in request.form:
            return render_template("staff/patron_erase.html", number=number, rows=len(rows), reason=reason, done=None)
        done = person_file.erase(records, who, rows, reason, web.now(), actor("erase"))
    except NotDone as not_done:
        return _render_patron(number, card, error=str(not_done)), 409
    return render_template("staff/patron_erase.html", number=number, rows=0, done=done)


def _find_card(number: str) -> str:
    """Return the current card of the patron with this number. Answer 404 if the number is unknown."""
    return services().visits.card_of(number) or abort(404)


def _number_for(card: str) -> str:
    return services().visits.number_of(card)


def _see_patron(card: str) -> PatronPage | None:
    """Return all data about a card, or None if the local system did not answer in time."""
    seen = execute(SeePatronPage(card))
    return None if isinstance(seen, Refused) else seen


def _full_name(one: Borrower) -> str:
    return " ".join(filter(None, (one.name.reveal(), one.name_zh.reveal())))


def _record_stores() -> Records:
    """Return the stores with personal data: the database (through the bridge), the archive, and the file of erased persons."""
    web = services()
    marks, archive = web.erased(), web.library().policy.retention.archive_file
    return Records(
        read=web.bridge.read, write=web.bridge.write, archive_file=archive, erased_file=marks.file, erased_key=marks.key
    )


def _redirect_to_patron(number: str, **query: str | None) -> Response:
    return redirect(url_for("patrons.page", number=number, **query), 303)  # type: ignore[arg-type]  # `query` has only strings


def _render_search(error: str = "", words: str = "", rows: list[dict[str, str]] | None = None, *, most: bool = False) -> str:
    return render_template("staff/patrons.html", error=error, words=words, rows=rows or [], most=most)


def _render_patron(
    number: str,
    card: str,
    *,
    error: str = "",
    refused: Refused | None = None,
    form: Mapping[str, str] | None = None,
    titles: Sequence[FoundTitle | Title] | None = None,
    asks_another: bool = False,
) -> str:
    seen = _see_patron(card) or abort(503)
    refusal = seen.seen.refusal
    return render_template(
        "staff/patron.html",
        number=number,
        found=seen,
        name=_full_name(seen.borrower) if seen.borrower else "",
        form={one: (form or {}).get(one, "") for one in FIELDS},
        placed=request.args.get("placed", "")[:40],
        titles=titles,
        asks_another=asks_another,
        done=COMMANDS.get(request.args.get("done", ""), ""),
        note=requests.NOTES.get(request.args.get("note", ""), ""),
        category=category_words(seen.borrower.category) if seen.borrower else "",
        prices=execute(console.loss_charges([line.request.item_agency for line in seen.seen.lines])),
        paid=whole_number(request.args.get("paid", "")) or 0,
        refunded=whole_number(request.args.get("refunded", "")) or 0,
        why=sentence(refusal) if refusal else "",
        why_rule=rule_of(refusal) if refusal else "",
        error=sentence(refused) if refused else error,
        error_rule=rule_of(refused) if refused else "",
        places=services().library().pickup_locations,
        language_names=LANGUAGES,
        supervisor=may(StaffRole.SUPERVISOR),
    )
