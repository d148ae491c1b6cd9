"""Lenders that number our requests themselves: finds our request by the lender's number."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hkall_gateway.circulation.messages.commands import PartnerNotice
from hkall_gateway.db.requests_by_partner_id import borrowed_under
from hkall_gateway.db.unannounced import asked_for
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.lifecycle import FINAL
from hkall_gateway.rules.vocabulary import Candidate, ItemKey, Request

Notice = TypeVar("Notice", bound=PartnerNotice)
Asked = tuple[Request, Candidate]


def as_ours(unit: Unit, ask: Notice, agency: str) -> Notice:
    """The notice under the RequestId that `agency`, ours, gave the request, where the lender uses its own number.

    A number that is also a request of the partner's own means that request, unless the notice names a copy of the partner's.
    """
    if not ask.wire_id or ask.wire_agency == agency:
        return ask
    theirs, lends = ask.wire_agency or ask.partner, ask.item is not None and ask.item.agency == ask.partner
    if not lends and _its_own(unit, ask):
        return ask
    asked = unit.request_numbered(ask.partner, f"{theirs}:{ask.wire_id}", ask.item.barcode if ask.item else "")
    if asked is None and ask.wire_agency and not _its_own(unit, ask):
        asked = _under_our_value(unit, ask) or _told_before_its_answer(unit, ask)
    return _named(ask, agency, asked[1]) if asked else ask


def _its_own(unit: Unit, ask: PartnerNotice) -> bool:
    """Whether a request of the partner's own making has this number."""
    lent = unit.request_lent(ask.wire_agency or ask.partner, ask.wire_id)
    return lent is not None or borrowed_under(unit, ask.partner, ask.wire_id) is not None


def _under_our_value(unit: Unit, ask: PartnerNotice) -> Asked | None:
    """Return our request to the lender with the same value as this number, which the lender repeats under its own AgencyId."""
    asked = unit.request_asked(ask.wire_id)
    return asked if asked and asked[1].agency == ask.partner else None


def _told_before_its_answer(unit: Unit, ask: PartnerNotice) -> Asked | None:
    """The open request sent for a copy of the lender's own: its notice may arrive before its answer."""
    asked = asked_for(unit, ask.item) if ask.item and ask.item.agency == ask.partner else None
    return asked if asked and asked[0].position not in FINAL and asked[0].wire_id == asked[1].wire_id else None


def _named(ask: Notice, agency: str, lender: Candidate) -> Notice:
    # A copy without an agency was assumed to be ours, since the number is not.
    copy = ItemKey(ask.partner, ask.item.barcode) if ask.item and ask.item.agency == agency else ask.item
    return replace(ask, wire_agency=agency, wire_id=lender.wire_id, item=copy)
