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
    agencies = {c.agency for c in copies}
    known = records(context.unit, context.now, agencies, weighed=_rivals(context.unit, agencies))
    choice = replace(_choice(context, agencies, volume), records=known, in_use=in_use)
    asked = lenders.choose_lender(copies, choice, seed)
    if any(not c.skip for c in asked):
        return asked
    return lenders.choose_lender(copies, replace(choice, records=_open(known)), seed)


def _choice(context: Context, agencies: Collection[str], volume: str) -> LenderChoice:
    """The choice among copies of these libraries, without their records and the copies in use."""
    partners, library = context.unit.partners.among(agencies), context.library
    return LenderChoice(partners, library.policy, context.now, library.agency, volume)


def _rivals(unit: UnitOfWork, agencies: Collection[str]) -> bool:
    """Whether two of these have the same priority, so that the balance of lending decides between them."""
    priorities = [partner.priority for partner in unit.partners.among(agencies).values()]
    return len(set(priorities)) < len(priorities)


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
    known = records(
        context.unit, context.now, {c.agency for c in listed}, weighed=False
    )  # their order was fixed when the list was made
    in_use = copies_in_use(context.unit, request.bib_id, request.id)
    for candidate in _in_turn(listed, known, in_use, context.now):
        if candidate.agency in tried:
            continue
        why = _gone(context, candidate, request, _open(known), in_use)
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
    known = _open(records(context.unit, context.now, agencies, weighed=False))
    return replace(_choice(context, agencies, volume), records=known, in_use=in_use)


def _gone(
    context: Context,
    candidate: Candidate,
    request: Request,
    known: Mapping[str, Record],
    in_use: InUse,
) -> str:
    """The reason against asking for a copy now; "" for an available one, or one that the catalogue never knew."""
    copy = context.unit.holdings.find(ItemKey(candidate.agency, candidate.barcode))
    if copy is None:
        return ""
    choice = replace(_choice(context, [candidate.agency], request.volume), records=known, in_use=in_use)
    return lenders.passed_over(copy, choice)
