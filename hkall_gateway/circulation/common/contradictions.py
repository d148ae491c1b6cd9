"""Holds a partner's news for a person where it contradicts what we have seen ourselves (`rules/evidence.py`)."""

from __future__ import annotations

from hkall_gateway.circulation.common.context import Context, flagged, refused
from hkall_gateway.circulation.messages.commands import PartnerNotice
from hkall_gateway.circulation.messages.partner_commands import BROKERED, MIRRORED
from hkall_gateway.circulation.messages.results import Refused
from hkall_gateway.db.unannounced import asked_by_barcode
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.evidence import News, Verdict, dated, judge
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import ItemKey, Refusal, Request


def contradicted(context: Context, ask: PartnerNotice, request: Request, news: News) -> Refused | None:
    """Hold the news where it contradicts our last scan, or names a copy of another request; None where it may be applied.

    A person who has judged it (`ask.judged`) is believed about the copy of this request, and so is the owner that finds a book
    which its patron says to have returned, or has lost. The request of a broker is held only after a scan of ours, since the
    broker's other messages tell of its own scans.
    """
    if other := _other_request(context.unit, ask, request):
        return hold(context, ask, request, of=other.id)
    if ask.judged or (news is News.HOME and (request.claimed_on or request.lost_on)):
        return None
    scanned_at = context.unit.last_scan(request.id)
    if request.kind in {BROKERED, MIRRORED} and scanned_at is None:
        return None
    verdict = judge(request.side, request.position, news, dated(ask.at, scanned_at))
    return hold(context, ask, request) if verdict is Verdict.HELD else None


def hold(
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
    scanned_at = context.unit.last_scan(request.id)
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


def _other_request(unit: Unit, ask: PartnerNotice, request: Request) -> Request | None:
    """The other open request that has the named copy, or for which it was asked of this partner, for another title.

    A lender may send another copy of the same title than the one it was asked for.
    """
    if ask.item is None or ask.item == request.item:
        return None
    held = next((one for one in unit.requests_with(ask.item.barcode, ask.item.agency) if one.id != request.id), None)
    return held or _asked_for_another_title(unit, ask.item, request)


def _asked_for_another_title(unit: Unit, item: ItemKey, request: Request) -> Request | None:
    asked = [one for one, lender in asked_by_barcode(unit, item.barcode) if lender.agency == item.agency]
    others = [one for one in asked if (one.bib_id, one.volume) != (request.bib_id, request.volume)]
    return None if len(others) < len(asked) else next(iter(others), None)
