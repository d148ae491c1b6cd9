"""Texts for the scan station, which say for every result what to do with the book, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from hkall_gateway.circulation.queries import PatronSeen
from hkall_gateway.circulation.results import CheckedOut, Refused
from hkall_gateway.circulation.returning import Arrival, CheckedIn
from hkall_gateway.rules.positions import FINAL, GOING_HOME
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vendor_words.languages import CHINESE
from hkall_gateway.rules.vocabulary import Borrower, Position, Request, Side
from hkall_gateway.web.i18n import day, gettext, language, library_name, money, ngettext, place_name
from hkall_gateway.web.labels import rule_of, sentence
from hkall_gateway.web.services import services
from hkall_gateway.web.staff.scan_station import CardOrCopy, CardScanned, CopyScanned

OK, LOOK, NO = "ok", "look", "no"
PLACED: Final = "received"
"""Check-in result for a copy that goes to the hold shelf."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The station's answer to one scan.

    Attributes:
        outcome: "ok", "look" or "no".
        what: What to do, in words short enough to be shown legibly from two metres.
        whom: Name of the patron.
        slip: Whether to print a slip.
        fine_cents: Fine for this return, which the station offers to take.
        ship_card: Institutional card of the library to which the copy can be shipped now.
        owners: Libraries to choose from if the barcode is ambiguous.
        either: Whether the clerk must choose if the text is a card or a book.
    """

    outcome: str
    what: str
    barcode: str = ""
    title: str = ""
    owner: str = ""
    whom: str = ""
    notes: tuple[str, ...] = ()
    rule: str = ""
    request: str = ""
    slip: bool = False
    fine_cents: int = 0
    ship_card: str = ""
    owners: tuple[str, ...] = ()
    either: bool = False


def of_card(scanned: CardScanned, *, over: bool) -> Answer:
    """Return the answer to a scanned card. `over` is true if the card was the current card and is now dismissed."""
    if over:
        return Answer(outcome=OK, what=gettext("Finished"), notes=(gettext("The next scan checks a book in."),))
    if scanned.partner:
        leaving = gettext("Scan the books that leave. Scan the card again when done.")
        return Answer(
            outcome=OK, what=gettext("Ship to %(library)s", library=library_name(scanned.partner.agency)), notes=(leaving,)
        )
    patron = scanned.patron
    if patron is None or patron.refusal:
        refusal, what = patron.refusal if patron else None, gettext("This card cannot borrow")
        return Answer(
            outcome=NO,
            what=what,
            whom=name_of(patron),
            notes=(sentence(refusal),) if refusal else (),
            rule=rule_of(refusal) if refusal else "",
        )
    notes = []
    if number := sum(entry.request.position is Position.RECEIVED for entry in patron.lines):
        waiting = ngettext("%(num)d book waits on the hold shelf.", "%(num)d books wait on the hold shelf.", number)
        notes.append(waiting % {"num": number})
    if late := [entry.request.full_title for entry in patron.lines if entry.overdue and not entry.request.lost_on]:
        notes.append(gettext("Overdue: %(titles)s.", titles="; ".join(late)))
    if patron.owed_cents:
        notes.append(gettext("Owes %(sum)s.", sum=money(patron.owed_cents)))
    if patron.credit_cents:
        notes.append(gettext("We owe this patron %(sum)s.", sum=money(patron.credit_cents)))
    notes.append(gettext("Scan the books. Scan the card again when done."))
    return Answer(outcome=OK, what=gettext("Lend to %(name)s", name=name_of(patron) or patron.card), notes=tuple(notes))


def of_either(scanned: CardOrCopy) -> Answer:
    """Ask whether the text is a card or a barcode, since both exist. Nothing has been done yet."""
    book = " ".join(
        filter(None, (scanned.title, gettext("of %(library)s", library=library_name(scanned.owner)) if scanned.owner else ""))
    )
    names = (gettext("Card: %(name)s.", name=library_name(scanned.library) or name_of(scanned.borrower) or scanned.text),)
    notes = (gettext("Book: %(book)s.", book=book), *names) if book else names
    return Answer(outcome=LOOK, what=gettext("Is this a card or a book?"), barcode=scanned.text, notes=notes, either=True)


def of_copy(scanned: CopyScanned, card_of_partner: Callable[[str], str], here: str = "") -> Answer:
    """Return the answer to a scanned copy.

    Args:
        scanned: Result of the scan.
        card_of_partner: Returns a library's institutional card, or "" if the library has none.
        here: Pickup location of the station, or "" if not known.
    """
    outcome, request = scanned.outcome, scanned.request
    if isinstance(outcome, CheckedIn):
        answer = _collected_elsewhere(here, _IN.get(outcome.what, _answer_again)(scanned, outcome), request)
        if outcome.what == Arrival.PAGED and request:
            answer = replace(answer, ship_card=card_of_partner(request.partner))
    elif isinstance(outcome, CheckedOut):
        answer = _answer_loan(scanned, outcome)
    elif isinstance(outcome, Refused):
        answer = _REFUSALS.get(outcome.why, _answer_refusal)(scanned, outcome)
    else:  # the station runs no other commands
        answer = Answer(outcome=NO, what=gettext("Ask a colleague"))
    known = scanned.copies[0] if len(scanned.copies) == 1 else None
    title = request.full_title if request else known.title if known else ""
    owner = request.item_agency if request else known.agency if known else ""
    return replace(answer, barcode=scanned.barcode, title=title, owner=owner, request=request.id if request else "")


def name_of(patron: PatronSeen | Borrower | None) -> str:
    """Return a patron's name in the language of this request, or "" if the name is not known."""
    if patron is None:
        return ""
    english, chinese = patron.name.reveal(), patron.name_zh.reveal()
    return (chinese or english) if language() == CHINESE else (english or chinese)


def _answer_received(scanned: CopyScanned, outcome: CheckedIn) -> Answer:
    tone, notes = OK, [gettext("The letter is on its way.")]
    if outcome.another_book:
        tone = LOOK
        notes.insert(0, _another_book_words(scanned))
    notes += _collect_by(scanned.request)
    if cannot_borrow := _cannot_borrow_words(scanned):
        tone = LOOK
        notes.insert(0, cannot_borrow)
    if outcome.recalled:
        tone, notes = LOOK, [*notes, gettext("Its owner has recalled it: tell the patron when lending.")]
    return Answer(outcome=tone, what=_shelf_words(scanned), whom=name_of(scanned.patron), notes=tuple(notes), slip=True)


def _answer_again(scanned: CopyScanned, outcome: CheckedIn) -> Answer:
    """Return the answer to a second scan of the same copy, which changes nothing."""
    request, before = scanned.request, gettext("Scanned before: nothing has changed.")
    if request and request.position is Position.RECEIVED:
        notes = (before, *_collect_by(request))
        if outcome.another_book:
            notes = (_another_book_words(scanned), *notes)
        if cannot_borrow := _cannot_borrow_words(scanned):
            notes = (cannot_borrow, *notes)
        return Answer(outcome=LOOK, what=_shelf_words(scanned), whom=name_of(scanned.patron), notes=notes, slip=True)
    if request and request.position in GOING_HOME:
        return Answer(outcome=LOOK, what=_send_words(request), notes=(before,), slip=True)
    return Answer(outcome=LOOK, what=gettext("Nothing to do"), notes=(before,))


def _answer_returned(scanned: CopyScanned, outcome: CheckedIn) -> Answer:
    notes = [gettext("Returned.")]
    if scanned.before and scanned.before.dropped_on:
        notes.append(gettext("It lay in the book drop since %(day)s.", day=day(scanned.before.dropped_on)))
    if outcome.recalled:
        notes.append(gettext("Its owner has recalled it: send it first."))
    if outcome.refund_cents:
        owed = gettext("It was lost and paid: the patron is owed %(sum)s.", sum=money(outcome.refund_cents))
        notes.append(owed)
    elif outcome.paid_cents:
        notes.append(gettext("It was lost and paid (%(sum)s). Its library pays nothing back.", sum=money(outcome.paid_cents)))
    elif outcome.was_lost:
        notes.append(gettext("It was lost; nothing was paid for it."))
    if outcome.fine_cents:
        notes.append(gettext("Fine: %(sum)s.", sum=money(outcome.fine_cents)))
    tone = LOOK if outcome.recalled or outcome.fine_cents or outcome.was_lost else OK
    whom, fine_cents = name_of(scanned.patron), outcome.fine_cents
    return Answer(
        outcome=tone, what=_send_words(scanned.request), whom=whom, notes=tuple(notes), slip=True, fine_cents=fine_cents
    )


def _answer_unwanted(scanned: CopyScanned, outcome: CheckedIn) -> Answer:
    recalled = outcome.recalled and not (scanned.before and scanned.before.unwanted)
    why = gettext("Its owner has recalled it.") if recalled else gettext("Nobody waits for it any more.")
    return Answer(outcome=LOOK, what=_send_words(scanned.request), notes=(why,), slip=True)


def _answer_uncollected(scanned: CopyScanned, _outcome: CheckedIn) -> Answer:
    return Answer(outcome=LOOK, what=_send_words(scanned.request), notes=(gettext("Not collected in time."),), slip=True)


def _answer_paged(scanned: CopyScanned, _outcome: CheckedIn) -> Answer:
    library = library_name(scanned.request.partner if scanned.request else "")
    notes = (gettext("It is still here: ship it, or scan the card of %(library)s first.", library=library),)
    return Answer(outcome=LOOK, what=gettext("Ship to %(library)s", library=library), notes=notes, slip=True)


def _answer_home(_scanned: CopyScanned, outcome: CheckedIn) -> Answer:
    missed = (gettext("The borrowing library had not said that it was on its way."),) if outcome.alert else ()
    return Answer(outcome=LOOK if missed else OK, what=gettext("Re-shelve"), notes=(gettext("Our own book is home."), *missed))


_IN: Final[Mapping[str, Callable[[CopyScanned, CheckedIn], Answer]]] = MappingProxyType(
    {
        PLACED: _answer_received,
        "again": _answer_again,
        "returned": _answer_returned,
        "unwanted": _answer_unwanted,
        "uncollected": _answer_uncollected,
        "paged": _answer_paged,
        "home": _answer_home,
    }
)
"""For each check-in result, the function that makes the answer."""


def _answer_loan(scanned: CopyScanned, outcome: CheckedOut) -> Answer:
    again = (gettext("Scanned before: nothing has changed."),) if outcome.again else ()
    if scanned.request and scanned.request.side is Side.LENDING:
        sent = gettext("Send to %(library)s", library=library_name(scanned.request.partner))
        return Answer(
            outcome=LOOK if again else OK, what=sent, notes=(*again, gettext("The library is told that it left.")), slip=True
        )
    recalled = (gettext("Its owner has recalled it: tell the patron."),) if outcome.recalled else ()
    until = gettext("Lent until %(day)s", day=day(outcome.due))
    return Answer(
        outcome=LOOK if again or recalled else OK, what=until, whom=name_of(scanned.patron), notes=(*again, *recalled)
    )


def _answer_unknown(scanned: CopyScanned, outcome: Refused) -> Answer:
    """Return the answer for a copy without an open request, depending on the copy's owner."""
    if scanned.request and scanned.request.position is Position.PAGED:  # scanned with the card of a patron or another library
        notes = (gettext("Put it aside, and scan it with no card or with that library's."),)
        owner = library_name(scanned.request.partner)
        return Answer(outcome=NO, what=gettext("Belongs to %(library)s; not in this box", library=owner), notes=notes)
    if scanned.request and scanned.request.position not in FINAL:  # our own copy in transit, scanned with a patron's card
        return _answer_refusal(scanned, outcome)
    if scanned.request:
        return Answer(outcome=LOOK, what=gettext("Re-shelve"), notes=(gettext("Our own book; its last request has ended."),))
    if any(copy.agency == services().library().agency for copy in scanned.copies):
        notes = (gettext("It is our own, and no library waits for it: check it in at the library's own system."),)
        return Answer(outcome=LOOK, what=gettext("Not an HKALL book"), notes=notes)
    notes = (gettext("Scan it once more. If it stays unknown, put the book aside for a colleague."),)
    return Answer(outcome=NO, what=gettext("This barcode is unknown"), notes=notes)


def _answer_foreign(scanned: CopyScanned, outcome: Refused) -> Answer:
    """Return the answer for a partner's copy without a request, which is to send the copy to the owner."""
    if outcome.item is None or not outcome.item.agency:
        return _answer_refusal(scanned, outcome)
    owner = library_name(outcome.item.agency)
    named = replace(outcome, detail={"owner": owner})
    return Answer(outcome=NO, what=gettext("A book of %(library)s", library=owner), notes=(sentence(named),))


def _answer_ambiguous(scanned: CopyScanned, _outcome: Refused) -> Answer:
    notes = (gettext("Two books have this barcode. Look at the stamp, and choose its library."),)
    return Answer(outcome=LOOK, what=gettext("Which library's book?"), notes=notes, owners=scanned.owners)


def _answer_late(_scanned: CopyScanned, _outcome: Refused) -> Answer:
    notes = (gettext("No answer in time. Scan it again: what was done is not done twice."),)
    return Answer(outcome=NO, what=gettext("Scan it again"), notes=notes)


def _answer_refusal(_scanned: CopyScanned, outcome: Refused) -> Answer:
    return Answer(outcome=NO, what=gettext("Stop"), notes=(sentence(outcome),), rule=rule_of(outcome))


_REFUSALS: Final[Mapping[Reason, Callable[[CopyScanned, Refused], Answer]]] = MappingProxyType(
    {
        Reason.UNKNOWN_ITEM: _answer_unknown,
        Reason.BELONGS_ELSEWHERE: _answer_foreign,
        Reason.AMBIGUOUS_ITEM: _answer_ambiguous,
        Reason.TRY_AGAIN: _answer_late,
    }
)
"""For each refusal with a text of the station's own, the function that makes the answer. `reasons` has texts for the rest."""


def _another_book_words(scanned: CopyScanned) -> str:
    """Tell the clerk what the patron asked for, if another book or volume came (R8)."""
    request = scanned.request
    asked = ", ".join(filter(None, (request.full_title, request.volume))) if request else ""
    return gettext("Not the book or volume that was asked for (%(asked)s): ask the patron.", asked=asked)


def _cannot_borrow_words(scanned: CopyScanned) -> str:
    """Warn that the patron of a waiting book cannot borrow it now, or return "" (R2, R13)."""
    lost_right = scanned.patron.lost_right if scanned.patron else None
    if lost_right is None:
        return ""
    return gettext("Its reader cannot borrow now: %(why)s", why=sentence(lost_right))


def _shelf_words(scanned: CopyScanned) -> str:
    """Return the place on the hold shelf, which is under the patron's initial if the initial is a Latin letter."""
    letter = scanned.patron.name.reveal()[:1].upper() if scanned.patron else ""
    if letter.isascii() and letter.isalpha():
        return gettext("Hold shelf, under %(letter)s", letter=letter)
    return gettext("Hold shelf")


def _send_words(request: Request | None) -> str:
    return gettext("Send to %(library)s", library=library_name(request.partner if request else ""))


def _collect_by(request: Request | None) -> list[str]:
    last = request.pickup_last if request else None
    return [gettext("Collect by %(day)s.", day=day(last))] if last else []


def _collected_elsewhere(here: str, answer: Answer, request: Request | None) -> Answer:
    """Add the pickup location to the answer if the copy is to be collected at another location."""
    there = request.pickup_location if request and request.position is Position.RECEIVED else ""
    if not here or there in ("", here):
        return answer
    notes = (gettext("It is collected there."), *answer.notes)
    return replace(answer, outcome=LOOK, what=gettext("Send to %(library)s", library=place_name(there)), notes=notes)
