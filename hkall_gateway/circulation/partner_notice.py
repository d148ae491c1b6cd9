"""Holds a partner's news for a person where it contradicts what we have seen ourselves (`rules/evidence.py`)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Final, Literal, TypeVar

from hkall_gateway.circulation.command import Command, Context, flagged, refused
from hkall_gateway.circulation.results import Noted, Refused, Renewed
from hkall_gateway.db.requests_by_partner_id import asked_by_barcode, asked_for, borrowed_under
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.evidence import News, Verdict, dated, judge
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import (
    Actor,
    Candidate,
    ItemKey,
    Refusal,
    Request,
)

MIRRORED: Final = "mirrored"


BROKERED: Final = "brokered"
"""Kinds of requests that another system placed for our patron: INN-Reach's central, which itself asks the lenders; a broker."""


@dataclass(frozen=True, slots=True)
class PartnerNotice:
    """A partner's notice of an event: shipped, received, declined, withdrew, renewed, recalled …

    `item` and the RequestId may each be absent; one of them names the request. `judged`: a person of ours has compared it with
    our own record, and believes it. `due` is the date that the partner asks for
    (asked), has granted its patron (told), or that a central has settled (decided). `reason` and `detail`: why it declines, in
    its words.
    """

    by: Actor
    partner: str
    wire_agency: str = ""
    wire_id: str = ""
    item: ItemKey | None = None
    at: datetime | None = None
    due: date | None = None
    reason: str = ""
    detail: str = ""
    due_is: Literal["asked", "told", "decided"] = "told"
    judged: bool = False


@dataclass(frozen=True, slots=True)
class ItemShipped(PartnerNotice, Command[None, Noted]):
    """A lender sent a copy to us, or a borrower sent ours back."""


@dataclass(frozen=True, slots=True)
class ItemReceived(PartnerNotice, Command[None, Noted]):
    """The borrower has our copy, or the lender has its own again."""


@dataclass(frozen=True, slots=True)
class RequestCancelled(PartnerNotice, Command[None, Noted]):
    """The lender declines, or the borrower withdraws."""


@dataclass(frozen=True, slots=True)
class ItemRenewed(PartnerNotice, Command[None, Renewed]):
    """The owner extends our patron's loan, or a borrower keeps our copy."""


@dataclass(frozen=True, slots=True)
class ItemCheckedOut(PartnerNotice, Command[None, Noted]):
    """The lender has charged its copy to us, or the borrower ours to its patron."""


@dataclass(frozen=True, slots=True)
class ItemCheckedIn(PartnerNotice, Command[None, Noted]):
    """The lender has its copy back, or the borrower's patron has returned ours."""


def hold_if_contradicted(context: Context, ask: PartnerNotice, request: Request, news: News) -> Refused | None:
    """Hold the news where it contradicts our last scan, or names a copy of another request; None where it may be applied.

    A person who has judged it (`ask.judged`) is believed about the copy of this request, and so is the owner that finds a book
    which its patron says to have returned, or has lost. The request of a broker is held only after a scan of ours, since the
    broker's other messages tell of its own scans.
    """
    if other := _other_request(context.unit, ask, request):
        return hold_notice(context, ask, request, of=other.id)
    if ask.judged or (news is News.HOME and (request.claimed_on or request.lost_on)):
        return None
    scanned_at = context.unit.journal.last_scan(request.id)
    if request.kind in {BROKERED, MIRRORED} and scanned_at is None:
        return None
    verdict = judge(request.side, request.position, news, dated(ask.at, scanned_at))
    return hold_notice(context, ask, request) if verdict is Verdict.HELD else None


def hold_notice(
    context: Context,
    ask: PartnerNotice,
    request: Request,
    why: Reason = Reason.CONTRADICTS_US,
    flag: StaffFlag = StaffFlag.CONTRADICTED,
    *,
    of: str = "",
) -> Refused:
    """Refuse the news, flag the request for staff, and write what each side says into the journal.

    `of`: the other request that has the copy.
    """
    scanned_at = context.unit.journal.last_scan(request.id)
    flags = flagged(request, flag)
    if flags != request.flags and request.position not in FINAL:
        request = context.unit.amend(request, context.now, ask.by, "R37" if why is Reason.ALREADY_SHIPPED else "", flags=flags)
    facts = {
        "says": ask.by.message,
        "dated": ask.at,
        "item": "/".join(ask.item) if ask.item else "",
        "position": request.position,
        "scanned": scanned_at,
        "of": of,
    }
    refusal = Refusal(why, {name: value for name, value in facts.items() if value})
    context.unit.refuse(refusal, context.now, ask.by, request)
    return refused(refusal)


def _other_request(unit: UnitOfWork, ask: PartnerNotice, request: Request) -> Request | None:
    """The other open request that has the named copy, or for which it was asked of this partner, for another title.

    A lender may send another copy of the same title than the one it was asked for.
    """
    if ask.item is None or ask.item == request.item:
        return None
    held = next((one for one in unit.requests.with_copy(ask.item.barcode, ask.item.agency) if one.id != request.id), None)
    if held:
        return held
    asked = [one for one, lender in asked_by_barcode(unit, ask.item.barcode) if lender.agency == ask.item.agency]
    others = [one for one in asked if (one.bib_id, one.volume) != (request.bib_id, request.volume)]
    return None if len(others) < len(asked) else next(iter(others), None)


Notice = TypeVar("Notice", bound=PartnerNotice)
Asked = tuple[Request, Candidate]


def with_our_number(unit: UnitOfWork, ask: Notice, agency: str) -> Notice:
    """The notice under the RequestId that `agency`, ours, gave the request, where the lender uses its own number.

    A number that is also a request of the partner's own means that request, unless the notice names a copy of the partner's.
    """
    if not ask.wire_id or ask.wire_agency == agency:
        return ask
    theirs, lends = ask.wire_agency or ask.partner, ask.item is not None and ask.item.agency == ask.partner
    if not lends and _is_own_number(unit, ask):
        return ask
    asked = unit.requests.numbered(ask.partner, f"{theirs}:{ask.wire_id}", ask.item.barcode if ask.item else "")
    if asked is None and ask.wire_agency and not _is_own_number(unit, ask):
        asked = _asked_under_our_value(unit, ask) or _asked_before_answer(unit, ask)
    if asked is None:
        return ask
    # A copy without an agency was assumed to be ours, since the number is not.
    copy = ItemKey(ask.partner, ask.item.barcode) if ask.item and ask.item.agency == agency else ask.item
    return replace(ask, wire_agency=agency, wire_id=asked[1].wire_id, item=copy)


def _is_own_number(unit: UnitOfWork, ask: PartnerNotice) -> bool:
    """Whether a request of the partner's own making has this number."""
    lent = unit.requests.lent(ask.wire_agency or ask.partner, ask.wire_id)
    return lent is not None or borrowed_under(unit, ask.partner, ask.wire_id) is not None


def _asked_under_our_value(unit: UnitOfWork, ask: PartnerNotice) -> Asked | None:
    """Return our request to the lender with the same value as this number, which the lender repeats under its own AgencyId."""
    asked = unit.requests.asked(ask.wire_id)
    return asked if asked and asked[1].agency == ask.partner else None


def _asked_before_answer(unit: UnitOfWork, ask: PartnerNotice) -> Asked | None:
    """The open request sent for a copy of the lender's own: its notice may arrive before its answer."""
    asked = asked_for(unit, ask.item) if ask.item and ask.item.agency == ask.partner else None
    return asked if asked and asked[0].position not in FINAL and asked[0].wire_id == asked[1].wire_id else None
