"""/staff/scan: one field for a barcode scanner. A book is checked in; after a card, it is lent.

The lines of earlier scans travel in the form, so that the page needs neither a script nor a memory of its own.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any, Final

from flask import Blueprint, render_template, request

from hkall_gateway.desk.messages.results import Refused
from hkall_gateway.desk.messages.scans import CardScanned, CopyScanned, Scan
from hkall_gateway.rules.vocabulary import Reason
from hkall_gateway.store.unit import Unit
from hkall_gateway.web.access import actor, needs
from hkall_gateway.web.i18n import clock
from hkall_gateway.web.roles import StaffRole
from hkall_gateway.web.services import services
from hkall_gateway.web.staff.scan_answers import Answer, name_of, of_card, of_copy

PAGES = Blueprint("scan", __name__)

MOST_LINES: Final = 20
"""Earlier scans that are shown."""
LONGEST: Final = 100
"""Characters of a scan, and of each cell of a line."""


@dataclass(frozen=True, slots=True)
class Line:
    """One earlier scan, in the words that were shown."""

    at: str
    barcode: str
    title: str
    what: str
    outcome: str
    request: str


@dataclass(frozen=True, slots=True)
class Borrowing:
    """The card to which books are lent now; `name` is a patron's name or a library, "" if not known."""

    card: str = ""
    name: str = ""


@PAGES.get("/staff/scan")
@needs(StaffRole.CLERK)
def scan() -> str:
    """The empty station."""
    return _page(None, Borrowing(), ())


@PAGES.post("/staff/scan")
@needs(StaffRole.CLERK)
def scanned() -> str:
    """Takes one scan. The card of the last scan stays in use, until it is scanned again or put aside."""
    card, lines = _typed("card"), _lines(request.form.get("lines", ""))
    text = _typed("barcode")
    if "done" in request.form:
        return _page(None, Borrowing(), lines)
    if not text:  # a scan into the field of the card is a scan
        text, card = card, ""
    if not text:
        return _page(None, Borrowing(), lines)
    answer, borrowing = _ask(text, card)
    if "once" in request.form:
        borrowing = Borrowing()
    return _page(answer, borrowing, (_line(answer, text), *lines)[:MOST_LINES])


def _ask(text: str, card: str) -> tuple[Answer, Borrowing]:
    asked = Scan(actor("scan"), text, card, _typed("agency"))
    found = services().bridge.ask(services().desk.scans.scan(asked))
    if isinstance(found, CardScanned):
        return _card(found, card)
    if isinstance(found, Refused):
        found = CopyScanned(text, Refused(Reason.TRY_AGAIN))
    partner = services().bridge.read(_partner_of, card) if card else ""
    name = partner or (name_of(found.patron) if card else "")
    return of_copy(found, _card_of), Borrowing(card, name)


def _card(found: CardScanned, in_use: str) -> tuple[Answer, Borrowing]:
    over = found.card == in_use
    answer = of_card(found, over=over)
    barred = found.patron is not None and found.patron.refusal is not None
    if over or barred:
        return answer, Borrowing()
    return answer, Borrowing(found.card, found.partner.agency if found.partner else name_of(found.patron))


def _page(answer: Answer | None, borrowing: Borrowing, lines: tuple[Line, ...]) -> str:
    kept = json.dumps([asdict(line) for line in lines], ensure_ascii=False, separators=(",", ":"))
    earlier = lines[1:] if answer else lines
    return render_template("staff/scan.html", answer=answer, borrowing=borrowing, lines=earlier, kept=kept)


def _line(answer: Answer, text: str) -> Line:
    barcode, title = answer.barcode or text, (answer.title or answer.whom)[:LONGEST]
    return Line(clock(services().now()), barcode, title, answer.what[:LONGEST], answer.outcome, answer.request)


def _lines(text: str) -> tuple[Line, ...]:
    """Return the lines that the form brought; none if they are not ours."""
    try:
        found: Any = json.loads(text or "[]")
        made = tuple(Line(**row) for row in found)
    except (ValueError, TypeError, RecursionError):
        return ()
    whole = all(isinstance(cell, str) and len(cell) <= LONGEST for line in made for cell in asdict(line).values())
    return made[: MOST_LINES - 1] if whole else ()


def _typed(name: str) -> str:
    return request.form.get(name, "").strip()[:LONGEST]


def _card_of(agency: str) -> str:
    return services().bridge.read(_institutional_card, agency)


def _institutional_card(unit: Unit, agency: str) -> str:
    partner = unit.partner(agency)
    return partner.institutional_card if partner else ""


def _partner_of(unit: Unit, card: str) -> str:
    partner = unit.partner_with_card(card)
    return partner.agency if partner else ""
