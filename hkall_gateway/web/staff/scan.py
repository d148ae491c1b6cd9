"""/staff/scan is the scan station. It has one field for a barcode scanner, and checks books in or lends them to a scanned card.

Each scan redirects to a URL that contains only the scan's number. Reloading that page shows the same answer again and runs
nothing. The answers are stored with the session. The current card is a form field, so that a page always lends to the card
that the page shows.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Final

from flask import Blueprint, abort, redirect, render_template, request, url_for
from pydantic import TypeAdapter
from werkzeug.wrappers import Response

from hkall_gateway.circulation import queries
from hkall_gateway.circulation.fines import Pay
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.returning import CheckIn
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.web.i18n import A_YEAR_S, gettext, library_name, money
from hkall_gateway.web.incoming import typed
from hkall_gateway.web.labels import rule_of, sentence
from hkall_gateway.web.paths import set_own_cookie
from hkall_gateway.web.services import execute, run, services
from hkall_gateway.web.sessions import actor, needs, staff_session
from hkall_gateway.web.staff import scan_station
from hkall_gateway.web.staff.scan_answers import NO, OK, Answer, name_of, of_card, of_copy, of_either
from hkall_gateway.web.staff.scan_station import CardOrCopy, CardScanned, CopyScanned, Scan, ScanKind

PAGES = Blueprint("scan", __name__)
ANSWER: Final = TypeAdapter(Answer)

LONGEST: Final = 100
"""Maximum length of a scanned text."""
PLACE: Final = "__Host-hkall-place"
"""Cookie with the pickup location at which this browser is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Borrowing:
    """The current card, to which books are lent. `name` is the name of the patron or library, "" if not known."""

    card: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One scan: the text, the answer, and the current card after the scan. `at` is None until the scan is stored."""

    text: str
    answer: Answer
    borrowing: Borrowing
    number: int = 0
    at: datetime | None = None


@PAGES.get("/staff/scan")
@needs(StaffRole.CLERK)
def scan() -> str:
    """Show the scan station. If the URL contains a scan number, also show the result of that scan."""
    number = request.args.get("scan", "")
    rows = _read_answers()
    newest = next((row for row in rows if str(row.number) == number), None)
    earlier = [row for row in rows if newest is None or row.number < newest.number]
    return _render_station(newest, earlier)


@PAGES.post("/staff/scan")
@needs(CheckIn)
def scanned() -> Response | str:
    """Process one scan. A scanned card remains current until the card is scanned again or dismissed."""
    text, card, word = (typed(name, LONGEST) for name in ("barcode", "card", "kind"))
    kind = ScanKind(word) if word in set(ScanKind) else None
    if not text:  # a text in the card field is always a card
        text, card, kind = card, "", ScanKind.CARD
    if not text or "done" in request.form:
        return redirect(url_for("scan.scan"), 303)
    answer, borrowing = _run_scan(text, card, kind)
    return _keep(Answered(text=text, answer=answer, borrowing=Borrowing() if "once" in request.form else borrowing))


@PAGES.post("/staff/scan/take")
@needs(Pay)
def take() -> Response | str:
    """Take the fine of a return that this session has scanned. The scan's number and time make a repetition harmless."""
    scan = next((row for row in _read_answers() if str(row.number) == typed("scan")), None) or abort(404)
    loan = execute(queries.find_request(scan.answer.request)) or abort(404)
    cents, transaction = scan.answer.fine_cents, f"scan-{scan.number}-{scan.at:%Y%m%d%H%M%S}"
    outcome = execute(Pay(by=actor("pay"), card=loan.patron, cents=cents, transaction_id=transaction, about=loan.id))
    taken = Answer(outcome=OK, what=gettext("Taken: %(sum)s.", sum=money(cents)))
    if isinstance(outcome, Refused):
        taken = Answer(outcome=NO, what=gettext("Stop"), notes=(sentence(outcome),), rule=rule_of(outcome))
    known = replace(scan.answer, outcome=taken.outcome, what=taken.what, notes=taken.notes, rule=taken.rule, fine_cents=0)
    return _keep(Answered(text=scan.text, answer=known, borrowing=Borrowing()))


def _keep(made: Answered) -> Response | str:
    """Store an answer with the session, and redirect to it."""
    try:
        parts = {"text": made.text, "answer": asdict(made.answer), **asdict(made.borrowing)}
        stored, token = json.dumps(parts, ensure_ascii=False, separators=(",", ":")), staff_session().token_hash
        number = services().visits.keep_scan(token, stored)
    except Unavailable:  # the scan may have been processed, so show the answer anyway
        return _render_station(made, [])
    return redirect(url_for("scan.scan", scan=number), 303)


@PAGES.post("/staff/scan/place")
@needs(StaffRole.CLERK)
def place() -> Response:
    """Store this browser's pickup location in a cookie."""
    answer, chosen = redirect(url_for("scan.scan"), 303), typed("pickup")
    if chosen in services().library().pickup_locations:
        set_own_cookie(answer, PLACE, chosen, max_age=A_YEAR_S)
    return answer


def _run_scan(text: str, card: str, kind: ScanKind | None) -> tuple[Answer, Borrowing]:
    command = Scan(by=actor("scan"), text=text, card=card, agency=typed("agency"), kind=kind, place=_station_place())
    found = run(scan_station.scan(services().circulation, command))
    if isinstance(found, CardScanned):
        over, barred = found.card == card, found.patron is not None and found.patron.refusal is not None
        name = library_name(found.partner.agency) if found.partner else name_of(found.patron)
        return of_card(found, over=over), Borrowing() if over or barred else Borrowing(card=found.card, name=name)
    if isinstance(found, Refused):
        found = CopyScanned(barcode=text, outcome=Refused(why=Reason.TRY_AGAIN))
    library = execute(queries.find_partner_by_card(card)) if card else None
    partner = library_name(library.agency) if library else ""
    if isinstance(found, CardOrCopy):
        known = (row.borrowing.name for row in _read_answers() if card and row.borrowing.card == card)
        return of_either(found), Borrowing(card=card, name=partner or next(known, ""))
    answer = of_copy(found, _institutional_card, _station_place())
    return answer, Borrowing(card=card, name=partner or (name_of(found.patron) if card else ""))


def _render_station(newest: Answered | None, earlier: list[Answered]) -> str:
    borrowing, answer = (newest.borrowing, newest.answer) if newest else (Borrowing(), None)
    places = services().library().pickup_locations
    station = {"places": places if len(places) > 1 else (), "here": _station_place()}
    return render_template("staff/scan.html", newest=newest, answer=answer, borrowing=borrowing, lines=earlier, **station)


def _read_answers() -> list[Answered]:
    """Return the session's scans, newest first."""
    rows, found = services().visits.scans(staff_session().token_hash), []
    for row in rows:
        parts = json.loads(row.answer)
        answer = ANSWER.validate_python(parts["answer"])  # ignores fields written by another release
        found.append(
            Answered(
                text=parts["text"],
                answer=answer,
                borrowing=Borrowing(card=parts["card"], name=parts["name"]),
                number=row.number,
                at=row.at,
            )
        )
    return found


def _institutional_card(agency: str) -> str:
    partner = execute(queries.find_partner(agency))
    return partner.institutional_card if partner else ""


def _station_place() -> str:
    """Return this station's pickup location, or "" if none was chosen or the chosen location no longer exists."""
    kept = request.cookies.get(PLACE, "")
    return kept if kept in services().library().pickup_locations else ""
