"""Chooses lenders: the ranked list of a new request, and the next lender to ask, with availability checked afresh each time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from hkall_gateway.circulation.command import Context
from hkall_gateway.db.instances import copies_in_use
from hkall_gateway.db.loads import loading
from hkall_gateway.db.partners import records
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules import dates, lenders
from hkall_gateway.rules.dates import ALWAYS_OPEN
from hkall_gateway.rules.lenders import NOT_IN_USE, SPARE, UNKNOWN_RECORD, InUse, LenderChoice, Record
from hkall_gateway.rules.messages.outbox_messages import ABOUT_THE_CHOSEN, DESCRIBED, PartnerMessage
from hkall_gateway.rules.vocabulary import Candidate, Holding, ItemKey, Partner, Request


def ranked(
    context: Context,
    copies: Sequence[Holding],
    seed: str,
    volume: str = "",
    in_use: InUse = NOT_IN_USE,
) -> tuple[Candidate, ...]:
    """Every copy in the order in which its library is asked, each with the reason if it is passed over.

    A library that is closed today is passed over while another can be asked. Where all are closed, as on a public holiday, the
    request waits at the first of them. `seed` decides between equals.
    """
    partners = context.unit.partners.among({c.agency for c in copies})
    choice = _choice(context, partners, volume, in_use, weighed=_rivals(partners.values()))
    asked = lenders.choose_lender(copies, choice, seed)
    if not asked or not asked[0].skip:
        return asked
    return lenders.choose_lender(copies, replace(choice, records=_open(choice.records)), seed)


def _choice(
    context: Context, partners: Mapping[str, Partner], volume: str, in_use: InUse, *, weighed: bool = False
) -> LenderChoice:
    """The choice among copies of these libraries."""
    library, known = context.library, records(context.unit, context.now, partners, weighed=weighed)
    return LenderChoice(partners, library.policy, context.now, library.agency, volume, records=known, in_use=in_use)


def _rivals(partners: Collection[Partner]) -> bool:
    """Whether two of these have the same priority, so that the balance of lending decides between them."""
    return len({partner.priority for partner in partners}) < len(partners)


def _open(known: Mapping[str, Record]) -> dict[str, Record]:
    return {agency: replace(record, closures=ALWAYS_OPEN) for agency, record in known.items()}


def next_lender(context: Context, request: Request) -> Candidate | None:
    """The best available copy of a library that was not asked yet; None when no copy is left.

    A copy that has become unavailable since the list was made, or that is ours, is skipped for good, with the reason, and
    another copy of its library takes its place. Copies for which another request was sent come late, libraries closed today
    last.
    """
    listed = context.unit.candidates.of(request.id)
    tried = {c.agency for c in listed if c.wire_id}
    in_use = copies_in_use(context.unit, request.bib_id, request.id)
    # Not weighed: their order was fixed when the list was made.
    today = _choice(context, context.unit.partners.among({c.agency for c in listed}), request.volume, in_use)
    choice = replace(today, records=_open(today.records))
    for candidate in _in_turn(listed, today.records, in_use, context.now):
        if candidate.agency in tried:
            continue
        why = _gone(context.unit, candidate, choice)
        if why or candidate.skip:
            context.unit.candidates.mark(candidate, skip=why)
        if not why:
            return candidate
    return None


def addressed(context: Context, message: PartnerMessage) -> tuple[PartnerMessage, Partner | None, tuple[str, ...]]:
    """The partner message, its library from the directory, and the statuses to look up there before a copy is asked for (R7).

    The lender's own request number, if it has given one since, is added. The statuses are empty where the lender answers no
    look-ups, or where the holdings were loaded recently enough to stand for a look-up.
    """
    partner, loaded = context.unit.partners.find(message.partner), loading.loaded_at(context.unit, "holdings")
    fresh = loaded is not None and context.now - loaded <= timedelta(seconds=context.library.policy.availability.fresh_s)
    looked_at = partner is not None and partner.can_lookup_items and not fresh
    return _as_known_now(context.unit, message), partner, context.library.policy.lendable_statuses if looked_at else ()


def _as_known_now(unit: UnitOfWork, message: PartnerMessage) -> PartnerMessage:
    """The message with the facts looked up now: the lender's own number, and the description of the copy."""
    asked = unit.requests.asked(message.wire_id) if message.send in ABOUT_THE_CHOSEN and message.wire_id else None
    copy = unit.holdings.find(message.item) if message.send in DESCRIBED and message.item else None
    if asked and asked[1].their_number:
        message = replace(message, their_number=asked[1].their_number)
    return replace(message, author=copy.author, call_number=copy.call_number) if copy else message


def _in_turn(listed: Sequence[Candidate], known: Mapping[str, Record], in_use: InUse, now: datetime) -> list[Candidate]:
    """The candidates still possible, by the rank of their library, with its further copies behind the first.

    Copies asked for by another request come after them, closed libraries last.
    """
    possible = [c for c in listed if c.skip in {"", SPARE}]
    first = {c.agency: c.rank for c in reversed(possible)}
    today = dates.civil(now)

    def rank(c: Candidate) -> tuple[bool, bool, int, int]:
        closed, asked = today in known.get(c.agency, UNKNOWN_RECORD).closures, ItemKey(c.agency, c.barcode) in in_use.asked
        return closed, asked, first[c.agency], c.rank

    return sorted(possible, key=rank)


def choice_today(context: Context, agencies: Collection[str], volume: str = "", in_use: InUse = NOT_IN_USE) -> LenderChoice:
    """Return the choice among copies of these libraries, where a library that is closed today counts as open.

    `lenders.passed_over` decides with it whether a copy is available. `volume` is the wanted volume; "" fits each copy.
    """
    choice = _choice(context, context.unit.partners.among(agencies), volume, in_use)
    return replace(choice, records=_open(choice.records))


def _gone(unit: UnitOfWork, candidate: Candidate, choice: LenderChoice) -> str:
    """The reason against asking for a copy now; "" for an available one, or one that the catalogue never knew."""
    copy = unit.holdings.find(ItemKey(candidate.agency, candidate.barcode))
    return lenders.passed_over(copy, choice) if copy else ""
