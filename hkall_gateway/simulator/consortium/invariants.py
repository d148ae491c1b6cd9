"""Checks a simulated consortium: EACH_STEP after every step, AT_THE_END at the end, and that each letter comes once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hkall_gateway.db.queries import cli_lists
from hkall_gateway.db.queries.consistency import find_disagreements
from hkall_gateway.db.requests import request_of, requests
from hkall_gateway.db.tables import REQUESTS
from hkall_gateway.delivery.headers import read_message_id
from hkall_gateway.rules import eligibility
from hkall_gateway.rules.dates import after, civil
from hkall_gateway.rules.lifecycle import TABLE, Event, Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage, is_letter
from hkall_gateway.rules.policy import quota_positions
from hkall_gateway.rules.stored_words import CandidateOutcome, NoticeState
from hkall_gateway.rules.vocabulary import Position, Request, Side
from hkall_gateway.simulator.consortium.daily_life import People
from hkall_gateway.simulator.consortium.gateways import Consortium, Moved
from hkall_gateway.simulator.consortium.staff import SimulatedCopy


@dataclass(frozen=True, slots=True)
class Observations:
    """A view of all libraries at once. `mail` counts how often each letter arrived, by library and letter id."""

    all: Consortium
    people: People
    mail: Mapping[str, Counter[str]]

    def requests(self, agency: str, side: Side) -> Sequence[Request]:
        """Return all requests of a library, including ended requests."""
        question = requests(REQUESTS.c.side == side).order_by(REQUESTS.c.id)
        return self.people.read(agency, lambda unit: tuple(map(request_of, unit.execute(question))))

    def find_lent(self, agency: str, borrower: str, wire_id: str) -> Request | None:
        """Return the request that `agency` lends to `borrower` under the borrower's request number, or None."""
        return self.people.read(agency, lambda unit: unit.requests.find_lent(borrower, wire_id))

    def events(self, agency: str, number: str) -> Sequence[tuple[str, str]]:
        """Return (position before, event) for each successful journal entry of a request."""
        lines = self.people.read(agency, lambda unit: unit.journal.history(number))
        return [(line["source"], line["event"]) for line in lines if line["request"] == number and line["outcome"] == "ok"]


P = Position


@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant. `broken` runs after each of the `events` and yields a text for each violation."""

    name: str
    events: frozenset[str]
    broken: Callable[[Observations, Moved], Iterator[str]]


HERE: Final = frozenset({P.RECEIVED, P.ON_LOAN, P.TO_RETURN})
"""Positions in which the copy is at the borrowing library or with its patron."""


def in_one_place(look: Observations, moved: Moved) -> Iterator[str]:
    """Check that the library that just handled a copy really has it, and that no other library claims to have it."""
    request = look.people.request(moved.agency, moved.move.request)
    if request is None or request.item is None or request.position not in HERE:
        return
    book = look.people.books[request.item]
    if book.holder != moved.agency or book.place not in {"desk", "reader"}:
        yield f"{request.id} says {request.position} of {book.item}, which is {book.place} {book.holder}"
    for other in look.all.worlds.keys() - {moved.agency}:
        held = look.people.read(other, lambda unit: unit.requests.open_with_item(book.item.barcode, book.item.agency))
        has = any(r.side is Side.BORROWING and r.position in HERE for r in held)
        if has and not _is_return_unannounced(look, other, book):
            yield f"{request.id} and {other} both say that they have {book.item}"


def _is_return_unannounced(look: Observations, library: str, book: SimulatedCopy) -> bool:
    """Return whether we are still waiting for the owner's message about a return.

    This happens when the patron takes the book straight to its owner, and the owner has already lent it again.
    """
    waiting = look.people.read(book.item.agency, lambda unit: unit.outbox.rows(partner=library))
    home = (row.payload for row in waiting if row.send is Notification.TELL_BORROWER_HOME)
    return any(isinstance(message, PartnerMessage) and message.item == book.item for message in home)


def one_lender_ships(look: Observations, moved: Moved) -> Iterator[str]:
    """Check that a second library ships for a request only after the first lender has failed to answer."""
    request = look.people.request(moved.agency, moved.move.request)
    requested = (
        look.people.read(request.partner, lambda unit: unit.requests.find_by_wire_id(request.wire_id)) if request else None
    )
    if request is None or requested is None:
        yield f"{moved.move.request} ships what nobody asked for"
        return
    wanted, borrower = requested[0], request.partner
    for one in look.people.read(borrower, lambda unit: unit.candidates.of_request(wanted.id)):
        other = look.find_lent(one.agency, borrower, one.wire_id) if one.wire_id and one.agency != moved.agency else None
        if other is None or other.position not in {P.SHIPPED, P.AT_BORROWER}:
            continue
        if not any(event == "ASK_NEXT_AFTER_SILENCE" for _, event in look.events(borrower, wanted.id)):
            yield f"{request.id} ships for {borrower} {wanted.id}, and so does {one.agency}"


def went_on_with_reason(look: Observations, moved: Moved) -> Iterator[str]:
    """Check that the next lender is asked only after the previous lender refused or cannot have received the request."""
    number = moved.move.request
    listed = look.people.read(moved.agency, lambda unit: unit.candidates.of_request(number))
    requested = sorted((c for c in listed if c.wire_id), key=lambda c: int(c.wire_id.rpartition("-")[2]))
    if len(requested) > 1 and requested[-2].outcome in {"", CandidateOutcome.ACCEPTED}:
        yield f"{number} went on from {requested[-2].agency}, whose answer is {requested[-2].outcome!r}"


def quota_holds(look: Observations, moved: Moved) -> Iterator[str]:
    """Check that no patron has more books than the category and the patron's own library allow."""
    policy, card = look.all.worlds[moved.agency].start.policy, moved.move.patron
    if not card:
        return
    borrower = look.people.read(moved.agency, lambda unit: unit.patrons.find(card))
    used = look.people.read(moved.agency, lambda unit: unit.requests.quota_used(card, quota_positions(policy)))
    category = eligibility.category_of(borrower, policy) if borrower else None
    quotas = (category.quota, borrower.total_quota) if borrower and category else (-1,)
    if used > min(quota for quota in quotas if quota is not None):
        yield f"{card} has {used} books"


def whole_period(look: Observations, moved: Moved) -> Iterator[str]:
    """Check that a loan has the full published period, whichever date the owner set.

    The same holds for a renewal that needed no lender's consent. Only a recall shortens the period.
    """
    request = look.people.request(moved.agency, moved.move.request)
    if request is None or request.due is None or request.recalled_on is not None:
        return
    renewed_on = civil(request.renewed_at) if request.renewed_at else None
    began = renewed_on if moved.move.event == "RENEW" else request.first_checkout
    if began and request.due < after(began, request.loan_days):
        yield f"{request.id} is lent for {request.loan_days} days from {began}, and is due on {request.due}"


def after_refusal(_look: Observations, moved: Moved) -> Iterator[str]:
    """Check that no command takes effect after its caller was told to try again."""
    if moved.refused:
        yield f"{moved.move.request} took {moved.move.event} after its caller was told to try again"


# fmt: off
IN_HAND: Final = frozenset({"ARRIVE", "ARRIVE_UNANNOUNCED", "ARRIVE_UNWANTED", "CHECK_OUT", "RETURN", "RETURN_UNUSED",
                            "UNDO_CHECK_OUT", "UNDO_RETURN"})
"""Events in which a person handles the copy."""

DATED: Final = frozenset({"CHECK_OUT", "RENEW"})
"""Events in which our own rules set a patron's due date."""

ANY_STEP: Final = frozenset({event.name for event in Event} | {"OPEN"})
"""Every journal event that changes a request."""

EACH_STEP: Final[tuple[Invariant, ...]] = (
    Invariant("a book is in one place",            IN_HAND,                                                in_one_place),
    Invariant("one lender ships a request",        frozenset({"LEND"}),                                    one_lender_ships),
    Invariant("a lender is given up with reason",  frozenset({"ASK_NEXT"}),                                went_on_with_reason),
    Invariant("a loan has its whole period",       DATED,                                                  whole_period),
    Invariant("no step after its refusal",         ANY_STEP,                                               after_refusal),
    Invariant("quotas hold",                       frozenset({"OPEN", "UNDO_RETURN", "UNDO_CHECK_OUT"}),   quota_holds),
)
# fmt: on


def outboxes_are_empty(look: Observations) -> Iterator[str]:
    """Report messages left in an outbox."""
    for agency, row in look.all.outbox():
        yield f"{agency} outbox {row.id} {row.send} {row.request} to {row.recipient}: {row.state} {row.last_error}"


def books_are_home(look: Observations) -> Iterator[str]:
    """Report books that are neither on their own shelf nor lost and paid for."""
    for book in look.people.books.values():
        if book.place != "lost" and (book.place != "shelf" or book.holder not in {"", book.item.agency}):
            yield f"{book.item} is lost: {book.place} {book.holder} since {book.since}"


def requests_have_ended(look: Observations) -> Iterator[str]:
    """Report requests and loans that have not ended."""
    for agency in look.all.worlds:
        for request in look.people.read(agency, lambda unit: unit.requests.open_list()):
            yield f"{agency} {request.id} is still {request.position} ({request.partner} {request.item})"


def lenders_agree(look: Observations) -> Iterator[str]:
    """Report requests that the lender has closed and the borrowing library has not."""
    for agency in look.all.worlds:
        for lent in look.requests(agency, Side.LENDING):
            requested = look.people.read(lent.partner, lambda unit, r=lent: unit.requests.find_by_wire_id(r.wire_id))  # type: ignore[misc]  # bound now
            if requested is None:
                yield f"{agency} {lent.id}: {lent.partner} never asked for it"
            elif lent.position is P.CLOSED and not _borrower_had_copy(look, requested[0], lent):
                yield f"{agency} {lent.id} is CLOSED, {lent.partner} {requested[0].id} is {requested[0].position}"


def _borrower_had_copy(look: Observations, wanted: Request, lent: Request) -> bool:
    """Return whether the borrower closed the request, had the copy as an orphan or for another request, or sent it home."""
    if wanted.position is P.CLOSED and wanted.wire_id == lent.wire_id:
        return True
    if lent.skipped in {P.PAGED.value, P.SHIPPED.value}:
        return True
    arrived = (r for r in look.requests(lent.partner, Side.BORROWING) if r.position is P.CLOSED)
    return any(r.wire_id == lent.wire_id or _same_copy(r, lent) for r in arrived)


def borrowers_agree(look: Observations) -> Iterator[str]:
    """Report requests that the borrowing library has closed and the lender has not."""
    for agency in look.all.worlds:
        for request in (r for r in look.requests(agency, Side.BORROWING) if r.position is P.CLOSED):
            lent = look.find_lent(request.partner, agency, request.wire_id) if request.partner else None
            if not ((lent and _was_lent(request, lent)) or _lent_for_another(look, agency, request)):
                yield f"{agency} {request.id} is CLOSED, {request.partner} has {lent.position if lent else 'nothing'}"


def _was_lent(request: Request, lent: Request) -> bool:
    """Return whether the lender also closed the request, or withdrew a shipment that the borrower no longer expected."""
    return lent.position is P.CLOSED or (lent.position is P.DECLINED and request.skipped == P.IN_TRANSIT.value)


def _lent_for_another(look: Observations, agency: str, arrived: Request) -> bool:
    """Return whether the lender closed another request for which it had sent this copy."""
    lent = (r for r in look.requests(arrived.partner, Side.LENDING) if r.partner == agency and r.position is P.CLOSED)
    return any(_same_copy(arrived, r) for r in lent)


def _same_copy(arrived: Request, lent: Request) -> bool:
    """Return whether a copy that arrived unannounced, perhaps sent for another request, is the copy of this loan."""
    if not (arrived.unannounced and arrived.item == lent.item and arrived.received_on and lent.placed_at):
        return False
    return civil(lent.placed_at) <= arrived.received_on <= (lent.returned_on or arrived.received_on)


def tables_agree(look: Observations) -> Iterator[str]:
    """Report payments that are missing on their charges, and positions and messages that contradict the journal."""
    for agency in look.all.worlds:
        for one in look.people.read(agency, lambda unit: list(find_disagreements(unit, look.all.now))):
            yield f"{agency} {one.kind} {one.request} {one.row}: {one.stands}, not {one.expected}"


def letters_came(look: Observations) -> Iterator[str]:
    """Report missing letters, and letters that are stored as sent although the mail server never took them.

    Each letter whose reason still held when the letter was due must have arrived.
    """
    for agency, world in look.all.worlds.items():
        came = {(number.split(".")[0], number.rpartition(".")[2]) for number in look.mail.get(agency, ())}
        yield from (f"{agency} {request}: {kind} is not sent" for request, kind in sorted(_letters(look, agency, SENT) - came))
        came |= _letters(look, agency, WITHOUT_REASON)
        for request in look.requests(agency, Side.BORROWING):
            # The letters that the patron must have received, unless the site suppresses them.
            steps = look.events(agency, request.id) if request.patron else ()
            due = {kind for step in steps for kind in LETTERS.get(step, ())} - world.circulation.library.silent
            yield from (f"{agency} {request.id}: no {kind}" for kind in sorted(due) if (request.id, kind) not in came)


def _letters(look: Observations, agency: str, states: Sequence[NoticeState]) -> set[tuple[str, str]]:
    """Return (request, kind) of each letter in one of the states."""
    rows = look.people.read(agency, lambda unit: cli_lists.notices(unit, states))
    return {(row["request"], row["kind"]) for row in rows}


SENT: Final = (NoticeState.SENT,)
WITHOUT_REASON: Final = (NoticeState.NOT_NEEDED, NoticeState.UNSURE)
"""States of letters whose reason was gone when they could be sent, or sent again after an unknown outcome."""
LETTERS: Final[Mapping[tuple[str, str], tuple[Notification, ...]]] = {
    (step.source.value, step.event.name): letters
    for step in TABLE
    if (letters := tuple(send for send in step.sends if is_letter(send)))
}
"""Letters that each event sends according to the life cycle, by source position and event."""

# fmt: off
AT_THE_END: Final[Mapping[str, Callable[[Observations], Iterator[str]]]] = {
    "the outbox drains":             outboxes_are_empty,
    "every book is home or settled": books_are_home,
    "every request ends":            requests_have_ended,
    "the borrower agrees":           lenders_agree,
    "the lender agrees":             borrowers_agree,
    "every letter comes":            letters_came,
    "the tables agree":              tables_agree,
}
# fmt: on


ONCE: Final = ("letter_pickup", "letter_unfilled")
"""Letters that may be sent only once for each request."""


class Invariants:
    """Checks the invariants, and collects every violation with its time in `broken`."""

    def __init__(self, consortium: Consortium, people: People) -> None:
        self.broken: list[str] = []
        self._mail: dict[str, Counter[str]] = {agency: Counter() for agency in consortium.worlds}
        self.look = Observations(consortium, people, self._mail)

    def watch(self, moved: Sequence[Moved]) -> None:
        """Check the invariants of the requests that moved in one step."""
        for one in moved:
            for truth in EACH_STEP:
                if one.move.outcome == "ok" and one.move.event in truth.events:
                    self._report(one.agency, *truth.broken(self.look, one))
        for agency in self._mail:
            # Each letter must arrive once. After a crash a gateway may resend a letter with the same Message-ID, which a mail
            # server would drop.
            read, letters = self._mail[agency], self.look.all.worlds[agency].letters
            while letters:
                number = self._notice_id(agency, letters.popleft().number)
                read[number] += 1
                request, _, kind = number.split(".", 2)
                same = [n for n in read if n.startswith(f"{request}.") and n.endswith(kind)]
                if kind in ONCE and len(same) > 1:
                    self._report(agency, f"{request}: {len(same)} different letters {kind}")
                if read[number] > 1 + self.look.all.deaths[agency] + self.look.all.disk_errors[agency]:
                    self._report(agency, f"{number} came {read[number]} times")

    def _notice_id(self, agency: str, message_id: str) -> str:
        """Return a letter's id as REQUEST.NUMBER.KIND, looked up in the table of letters."""
        named = read_message_id(message_id)
        found = self.look.people.read(agency, lambda unit: unit.notices.find(named.notice)) if named else None
        return f"{found.request}.{found.id}.{found.kind}" if found else f"?.{message_id}.?"

    def is_settled(self) -> bool:
        """Return whether no request is open, every outbox is empty, and every book is home or settled."""
        return not any(True for name in SETTLED for _ in AT_THE_END[name](self.look))

    def end(self) -> None:
        """Run the final checks: no message is lost, and both sides agree."""
        for broken in AT_THE_END.values():
            self._report("", *broken(self.look))

    def count_ends(self) -> Counter[str]:
        """Count the requests by side and position."""
        every = ((side, r) for agency in self._mail for side in Side for r in self.look.requests(agency, side))
        return Counter(f"{side.value} {request.position}" for side, request in every)

    def _report(self, agency: str, *what: str) -> None:
        self.broken.extend(f"{self.look.all.now:%Y-%m-%d %H:%M:%S} {agency} {one}".replace("  ", " ") for one in what)


SETTLED: Final = ("every book is home or settled", "the outbox drains", "every request ends")
