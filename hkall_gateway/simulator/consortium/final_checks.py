"""Final checks of a simulated consortium, made when the network is healthy again and all messages have arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from hkall_gateway.db.queries import cli_lists
from hkall_gateway.rules.dates.calendar import civil
from hkall_gateway.rules.lifecycle import TABLE, Notification
from hkall_gateway.rules.messages.outbox_messages import is_letter
from hkall_gateway.rules.stored_words import NoticeState
from hkall_gateway.rules.vocabulary import Position, Request, Side
from hkall_gateway.simulator.consortium.observations import Observations

P = Position


def outboxes_are_empty(look: Observations) -> Iterator[str]:
    """Reports messages left in an outbox; all must have been delivered."""
    for agency, row in look.all.outbox():
        yield f"{agency} outbox {row.id} {row.send} {row.request} to {row.recipient}: {row.state} {row.last_error}"


def books_are_home(look: Observations) -> Iterator[str]:
    """Reports books that are neither on their own shelf nor lost and paid for."""
    for book in look.people.books.values():
        if book.place != "lost" and (book.place != "shelf" or book.holder not in {"", book.item.agency}):
            yield f"{book.item} is lost: {book.place} {book.holder} since {book.since}"


def requests_have_ended(look: Observations) -> Iterator[str]:
    """Reports open requests and loans; all must have ended."""
    for agency in look.all.worlds:
        for request in look.ask(agency, lambda unit: unit.open_list()):
            yield f"{agency} {request.id} is still {request.position} ({request.partner} {request.item})"


def lenders_agree(look: Observations) -> Iterator[str]:
    """Each request that a lender has closed must be closed at the borrowing library too."""
    for agency in look.all.worlds:
        for lent in look.requests(agency, Side.LENDING):
            asked = look.ask(lent.partner, lambda unit, r=lent: unit.request_asked(r.wire_id))  # type: ignore[misc]  # bound now
            if asked is None:
                yield f"{agency} {lent.id}: {lent.partner} never asked for it"
            elif lent.position is P.CLOSED and not _had_it(look, asked[0], lent):
                yield f"{agency} {lent.id} is CLOSED, {lent.partner} {asked[0].id} is {asked[0].position}"


def _had_it(look: Observations, wanted: Request, lent: Request) -> bool:
    """Whether the borrower closed the same request, had the copy as an orphan or for another one, or sent it home unknown."""
    if wanted.position is P.CLOSED and wanted.wire_id == lent.wire_id:
        return True
    if lent.skipped in {P.PAGED.value, P.SHIPPED.value}:
        return True
    had = (r for r in look.requests(lent.partner, Side.BORROWING) if r.position is P.CLOSED)
    return any(r.wire_id == lent.wire_id or _same_copy(r, lent) for r in had)


def borrowers_agree(look: Observations) -> Iterator[str]:
    """Each request that a borrowing library has closed must be closed at the lender too."""
    for agency in look.all.worlds:
        for request in (r for r in look.requests(agency, Side.BORROWING) if r.position is P.CLOSED):
            lent = look.lent(request.partner, agency, request.wire_id) if request.partner else None
            if not ((lent and _was_lent(request, lent)) or _lent_for_another(look, agency, request)):
                yield f"{agency} {request.id} is CLOSED, {request.partner} has {lent.position if lent else 'nothing'}"


def _was_lent(request: Request, lent: Request) -> bool:
    """Whether the lender closed the request too, or withdrew a shipment that the borrower no longer waited for."""
    return lent.position is P.CLOSED or (lent.position is P.DECLINED and request.skipped == P.IN_TRANSIT.value)


def _lent_for_another(look: Observations, agency: str, had: Request) -> bool:
    """Whether the lender closed the copy under the number of another request, for which it had sent it."""
    lent = (r for r in look.requests(had.partner, Side.LENDING) if r.partner == agency and r.position is P.CLOSED)
    return any(_same_copy(had, r) for r in lent)


def _same_copy(had: Request, lent: Request) -> bool:
    """Whether a copy that arrived unannounced, and may have been sent for another request, is the one of this loan."""
    if not (had.unannounced and had.item == lent.item and had.received_on and lent.placed_at):
        return False
    return civil(lent.placed_at) <= had.received_on <= (lent.returned_on or had.received_on)


def letters_came(look: Observations) -> Iterator[str]:
    """Reports notices that are missing; every notice that was still true when it was sent must have arrived."""
    for agency, world in look.all.worlds.items():
        came = {(number.split(".")[0], number.rpartition(".")[2]) for number in look.mail.get(agency, ())}
        came |= {
            (row["request"], row["kind"])
            for row in look.ask(agency, lambda unit: cli_lists.notices(unit, (NoticeState.NOT_NEEDED,)))
        }
        for request in look.requests(agency, Side.BORROWING):
            due = _due(look, agency, request) - world.circulation.library.silent
            yield from (f"{agency} {request.id}: no {kind}" for kind in sorted(due) if (request.id, kind) not in came)


def _due(look: Observations, agency: str, request: Request) -> set[Notification]:
    """The notices that the patron must have received, if the site sends every kind."""
    steps = look.events(agency, request.id) if request.patron else ()
    return {kind for step in steps for kind in LETTERS.get(step, ())}


LETTERS: Final[Mapping[tuple[str, str], tuple[Notification, ...]]] = {
    (step.source.value, step.event.name): letters
    for step in TABLE
    if (letters := tuple(send for send in step.sends if is_letter(send)))
}
"""The notices of each event, by the life cycle."""

# fmt: off
AT_THE_END: Final[Mapping[str, Callable[[Observations], Iterator[str]]]] = {
    "the outbox drains":             outboxes_are_empty,
    "every book is home or settled": books_are_home,
    "every request ends":            requests_have_ended,
    "the borrower agrees":           lenders_agree,
    "the lender agrees":             borrowers_agree,
    "every letter comes":            letters_came,
}
# fmt: on
