"""Finds the request for a copy that arrived without a shipped message, or the library that a copy belongs to.

Two possible requests are never guessed between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hkall_gateway.circulation.common.context import Library
from hkall_gateway.db import unannounced as found
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import CandidateOutcome
from hkall_gateway.rules.vocabulary import Candidate, Holding, ItemKey, Request, Side

NO = (CandidateOutcome.DECLINED, CandidateOutcome.REFUSED)
"""Prefixes of the outcomes of lenders that refused."""


@dataclass(frozen=True, slots=True)
class AwaitedCopy:
    """The one request that waits for a copy, the lender that was asked for it, and the copy."""

    request: Request
    lender: Candidate
    item: ItemKey


def awaited(unit: Unit, barcode: str, agency: str, library: Library) -> AwaitedCopy | Reason:
    """The request for which a lender was asked for this copy, or for the title of which it is a copy of that lender.

    `agency` is "" where only the barcode is known. AMBIGUOUS_ITEM where two requests may wait for it, or where a book of
    our own has the same barcode; UNKNOWN_ITEM where none does. A lender that refused may still have sent the copy; it is
    considered only if no other candidate fits. Source: HKALL rules R12, R13; receive unannounced.
    """
    copies = found.copies_with(unit, barcode)
    ours = any(copy.agency == library.agency for copy in copies)
    waiting = [
        AwaitedCopy(request, lender, ItemKey(lender.agency, barcode))
        for request, lender in found.asked_by_barcode(unit, barcode) or _for_titles(unit, copies, library)
        if agency in {"", lender.agency}
    ]
    likely = [one for one in waiting if not one.lender.outcome.startswith(NO)] or waiting
    if not likely:
        return Reason.UNKNOWN_ITEM
    return Reason.AMBIGUOUS_ITEM if ours or len(likely) > 1 else likely[0]


@dataclass(frozen=True, slots=True)
class OwnedElsewhere:
    """A partner's copy for which nobody waits, and its last request. Several libraries may have a copy with the barcode."""

    owners: tuple[str, ...]
    title: str
    request: Request | None


def owned_elsewhere(unit: Unit, barcode: str, agency: str, library: Library) -> OwnedElsewhere | None:
    """The partner's copy with this barcode, by its last request or the loaded copies; None if it may be a copy of our own.

    `agency` is "" where only the barcode is known.
    """
    copies = [copy for copy in found.copies_with(unit, barcode) if agency in {"", copy.agency}]
    last = unit.last_with(ItemKey(agency, barcode))
    if library.agency in {copy.agency for copy in copies} or (last and last.side is Side.LENDING):
        return None
    if last:
        return OwnedElsewhere((last.item_agency,), last.title, last)
    owners = tuple(sorted({copy.agency for copy in copies}))
    return OwnedElsewhere(owners, copies[0].title, None) if copies else None


def _for_titles(unit: Unit, copies: Sequence[Holding], library: Library) -> list[found.Asked]:
    return [one for copy in copies if copy.agency != library.agency for one in found.asked_for_title(unit, copy)]
