"""/record shows current requests, loans and fines; /record/history shows the history that a patron chose to keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask import Blueprint, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from hkall_gateway.circulation import patron_record
from hkall_gateway.circulation.borrowing import Cancelled, CancelRequest
from hkall_gateway.circulation.loans import AllRenewed, Renew, RenewAll
from hkall_gateway.circulation.patron_record import ChooseHistory, PatronRecord
from hkall_gateway.circulation.ports import LocalLoan
from hkall_gateway.circulation.results import Refused, Renewed
from hkall_gateway.rules import dates
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import ItemKey
from hkall_gateway.web.i18n import language, place_name
from hkall_gateway.web.labels import shown_refusal
from hkall_gateway.web.patron.login import actor, facts_about, needs_patron, own_card
from hkall_gateway.web.services import execute, run, services

PAGES = Blueprint("record", __name__)

TONES: Final[Mapping[str, str]] = {"NEW": "look", "REQUESTED": "look", "RECEIVED": "done"}
"""Tone of the status badge, by request position."""
CODES: Final[Mapping[Reason, int]] = {Reason.TRY_AGAIN: 503, Reason.UNKNOWN_REQUEST: 404}


@PAGES.get("/record")
@needs_patron
def page() -> str:
    """Show the record, with the outcome of the last action."""
    return _render_record(own_card())


@PAGES.post("/record/cancel")
@needs_patron
def cancel() -> Response | tuple[str, int]:
    """Cancel one request (R34)."""
    card, number = own_card(), request.form.get("request", "")
    command = CancelRequest(by=actor("cancel"), patron=card, request=number)
    outcome = execute(command) if number else abort(404)
    if isinstance(outcome, Cancelled):
        return _redirect_done(cancelled=1)
    assert isinstance(outcome, Refused)
    return _render_refusal(card, outcome)


@PAGES.post("/record/renew")
@needs_patron
def renew() -> Response | tuple[str, int]:
    """Renew one loan (R27 to R32)."""
    card = own_card()
    record, number = execute(patron_record.patron_record(card, facts_about(card))), request.form.get("request", "")
    loan = next((one for one in record.loans if one.request.id == number), None) or abort(404)
    item = loan.request.item or ItemKey("", "")
    command = Renew(by=actor("renew"), card=card, barcode=item.barcode, agency=item.agency)
    outcome = execute(command)
    if isinstance(outcome, Renewed):
        return _redirect_done(renewed=[outcome.request])
    assert isinstance(outcome, Refused)
    return _render_refusal(card, outcome, loan.request.full_title)


@PAGES.post("/record/renew-all")
@needs_patron
def renew_all() -> Response | tuple[str, int]:
    """Renew all loans that may be renewed. The page then shows why the other loans were not renewed."""
    card = own_card()
    command = RenewAll(by=actor("renew"), card=card, fee_acknowledged=True)
    outcome = execute(command)
    if isinstance(outcome, AllRenewed):
        return _redirect_done(renewed=[one.request for one in outcome.renewed])
    return _render_refusal(card, outcome)


@PAGES.get("/record/history")
@needs_patron
def history() -> str:
    """Show the past loans and letters that the patron chose to keep."""
    return render_template("patron/history.html", history=execute(patron_record.patron_history(own_card())), civil=civil)


@PAGES.post("/record/history")
@needs_patron
def choose_history() -> Response:
    """Keep past loans and letters from now on, or delete them."""
    execute(ChooseHistory(actor("history"), own_card(), keep=request.form.get("keep") == "yes"))
    return redirect(url_for("record.history"), 303)


def _redirect_done(**what: int | list[str]) -> Response:
    return redirect(url_for("record.page", **what), 303)  # type: ignore[arg-type]  # query string


def _render_refusal(card: str, refused: Refused, title: str = "") -> tuple[str, int]:
    if refused.why is Reason.UNKNOWN_REQUEST:
        abort(404)
    return _render_record(card, refused, title), CODES.get(refused.why, 409)


def own_loans(card: str, record: PatronRecord) -> list[LocalLoan] | None:
    """Return the patron's loans of our own books, earliest due first, or None if the local system does not report loans."""
    found = run(services().circulation.ils.own_loans(card))
    if found is None or isinstance(found, Refused):
        return None
    return patron_record.other_loans(record, found)


def _render_record(card: str, refused: Refused | None = None, title: str = "") -> str:
    facts = facts_about(card)
    record = execute(patron_record.patron_record(card, facts))
    by_number = {one.request.id: one for one in record.loans}
    placed = request.args.get("placed", "")
    today = civil(services().now())
    suspension = dates.requests_suspended_on(services().library().policy, today)
    return render_template(
        "patron/record.html",
        record=record,
        refusal=shown_refusal(refused),
        refused_title=title,
        why=shown_refusal(record.refusal),
        away=not facts.reachable,
        resumes_on=dates.first_day_after(suspension) if suspension else None,
        meanwhile=dates.suspension_message(suspension, language()) if suspension else "",
        placed=next((one for one in record.waiting if one.request.id == placed), None),
        cancelled="cancelled" in request.args,
        renewed=[by_number[number] for number in request.args.getlist("renewed") if number in by_number],
        counter=place_name(services().library().pickup_locations[0]),
        own_loans=own_loans(card, record),
        shown_refusal=shown_refusal,
        civil=civil,
        tones=TONES,
    )
