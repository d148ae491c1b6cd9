"""What must be true of a simulated consortium when all lines are whole again and everything had time to settle."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from hkall_gateway.lab.look import Look
from hkall_gateway.rules.calendar import civil
from hkall_gateway.rules.lifecycle import TABLE, Send
from hkall_gateway.rules.tidings import is_letter
from hkall_gateway.rules.vocabulary import Position, Request, Side
from hkall_gateway.store.notices import NOT_NEEDED
from hkall_gateway.store.queries import worklists

P = Position


def outboxes_are_empty(look: Look) -> Iterator[str]:
    """Everything was told."""
    for agency, row in look.all.outbox():
        yield f"{agency} outbox {row.id} {row.send} {row.request} to {row.recipient}: {row.state} {row.last_error}"


def books_are_home(look: Look) -> Iterator[str]:
    """Every book stands on its own shelf, or was lost and paid for."""
    for book in look.people.books.values():
        if book.place != "lost" and (book.place != "shelf" or book.holder not in {"", book.item.agency}):
            yield f"{book.item} is lost: {book.place} {book.holder} since {book.since}"


def requests_have_ended(look: Look) -> Iterator[str]:
    """Nothing is open: neither a wish nor a loan."""
    for agency in look.all.worlds:
        for request in look.ask(agency, lambda unit: unit.open_list()):
            yield f"{agency} {request.id} is still {request.position} ({request.partner} {request.item})"


def lenders_agree(look: Look) -> Iterator[str]:
    """What a library has lent and closed, the borrowing one has had and closed too."""
    for agency in look.all.worlds:
        for lent in look.requests(agency, Side.LENDING):
            asked = look.ask(lent.partner, lambda unit, r=lent: unit.request_asked(r.wire_id))  # type: ignore[misc]  # bound now
            if asked is None:
                yield f"{agency} {lent.id}: {lent.partner} never asked for it"
            elif lent.position is P.CLOSED and not _had_it(look, asked[0], lent):
                yield f"{agency} {lent.id} is CLOSED, {lent.partner} {asked[0].id} is {asked[0].position}"


def _had_it(look: Look, wish: Request, lent: Request) -> bool:
    """The borrower closed the same wish, or had the copy as a stray or for another wish; or its desk sent it home unknown."""
    if wish.position is P.CLOSED and wish.wire_id == lent.wire_id:
        return True
    if lent.skipped in {P.PAGED.value, P.SHIPPED.value}:
        return True
    had = (r for r in look.requests(lent.partner, Side.BORROWING) if r.position is P.CLOSED)
    return any(r.wire_id == lent.wire_id or _same_copy(r, lent) for r in had)


def borrowers_agree(look: Look) -> Iterator[str]:
    """What a library has borrowed and closed, the lender has lent and closed too."""
    for agency in look.all.worlds:
        for request in (r for r in look.requests(agency, Side.BORROWING) if r.position is P.CLOSED):
            lent = look.lent(request.partner, agency, request.wire_id) if request.partner else None
            if not ((lent and _was_lent(request, lent)) or _lent_for_another(look, agency, request)):
                yield f"{agency} {request.id} is CLOSED, {request.partner} has {lent.position if lent else 'nothing'}"


def _was_lent(request: Request, lent: Request) -> bool:
    """The lender closed it too; or took back what it had announced, when here nobody waited for it any more."""
    return lent.position is P.CLOSED or (lent.position is P.DECLINED and request.skipped == P.IN_TRANSIT.value)


def _lent_for_another(look: Look, agency: str, had: Request) -> bool:
    """The lender closed the copy under the number of another wish, for which it had sent it."""
    lent = (r for r in look.requests(had.partner, Side.LENDING) if r.partner == agency and r.position is P.CLOSED)
    return any(_same_copy(had, r) for r in lent)


def _same_copy(had: Request, lent: Request) -> bool:
    """Whether a copy that came without a word, and may have been sent for another wish, is the one of this loan."""
    if not (had.unannounced and had.item == lent.item and had.received_on and lent.placed_at):
        return False
    return civil(lent.placed_at) <= had.received_on <= (lent.returned_on or had.received_on)


def letters_came(look: Look) -> Iterator[str]:
    """Every letter came that was still true when it left."""
    for agency, world in look.all.worlds.items():
        came = {(number.split(".")[0], number.rpartition(".")[2]) for number in look.mail.get(agency, ())}
        came |= {(row["request"], row["kind"]) for row in look.ask(agency, lambda unit: worklists.notices(unit, (NOT_NEEDED,)))}
        for request in look.requests(agency, Side.BORROWING):
            due = _due(look, agency, request) - world.desk.house.silent
            yield from (f"{agency} {request.id}: no {kind}" for kind in sorted(due) if (request.id, kind) not in came)


def _due(look: Look, agency: str, request: Request) -> set[Send]:
    """What its patron had to hear, if the site wrote every letter."""
    steps = look.events(agency, request.id) if request.patron else ()
    return {kind for step in steps for kind in LETTERS.get(step, ())}


LETTERS: Final[Mapping[tuple[str, str], tuple[Send, ...]]] = {
    (step.source.value, step.event.name): letters
    for step in TABLE
    if (letters := tuple(send for send in step.sends if is_letter(send)))
}
"""Which letters belong to an event, as the life cycle says."""

# fmt: off
AT_THE_END: Final[Mapping[str, Callable[[Look], Iterator[str]]]] = {
    "the outbox drains":             outboxes_are_empty,
    "every book is home or settled": books_are_home,
    "every request ends":            requests_have_ended,
    "the borrower agrees":           lenders_agree,
    "the lender agrees":             borrowers_agree,
    "every letter comes":            letters_came,
}
# fmt: on
