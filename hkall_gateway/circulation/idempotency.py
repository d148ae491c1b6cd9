"""Idempotency: a repeated document gets the stored reply while the effect of the original still holds.

Every stored result type has a rule here that checks its effect. If the effect no longer holds, the document is processed anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final, TypeVar

from hkall_gateway.circulation.borrowing import Cancelled, Requested
from hkall_gateway.circulation.command import Context, InboxKey
from hkall_gateway.circulation.fines import Paid, Refunded, Waived
from hkall_gateway.circulation.lending import Paged
from hkall_gateway.circulation.loans import AllRenewed
from hkall_gateway.circulation.partners.partner_reports import Billed, Changed, StatusSet
from hkall_gateway.circulation.recalls import Recalled
from hkall_gateway.circulation.results import CheckedOut, Done, Noted, Refused, Renewed
from hkall_gateway.circulation.returning import Arrival, CheckedIn
from hkall_gateway.db import inbox
from hkall_gateway.db.queries.request_history import JournalRow
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.messages.json_records import from_json, to_json
from hkall_gateway.rules.policy import is_out, renewal_stands
from hkall_gateway.rules.positions import FINAL, LENDING_ONLY, PATRON_CANCELLED, TAKES_QUOTA, with_check_in
from hkall_gateway.rules.vocabulary import Holding, Position, Request, Side

P = Position


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaken:
    """Result: the command was not run, because the journal has lines that are newer than the caller's page."""

    lines: tuple[JournalRow, ...]


TAKEN_IN: Final[Mapping[Arrival, frozenset[Position]]] = {
    result: with_check_in(result) for result in Arrival if result is not Arrival.AGAIN
}
"""Positions in which a check-in still holds, by `CheckedIn.what`. A scan with the result AGAIN is always processed anew."""


def _renewal_holds(result: Renewed, request: Request) -> bool:
    return renewal_stands(request) and (result.due, result.renewals) == (_due_date(request), request.renewals)


def _checkout_holds(result: CheckedOut, request: Request) -> bool:
    if result.undone:
        return request.position is P.RECEIVED
    recalled = request.recalled_on is not None
    return is_out(request) and result.due == _due_date(request) and result.recalled is recalled


def _notice_holds(result: Noted, request: Request) -> bool:
    """Check whether a notice still applies: the request is unchanged since the notice, or is closed."""
    if not result.position or request.position is P.CLOSED:
        return True
    now = (request.position, request.item, request.wire_agency, request.wire_id)
    return now == (result.position, result.item, result.wire_agency, result.wire_id)


def _recall_holds(result: Recalled, request: Request) -> bool:
    recalled = request.recalled_on is not None
    return (result.position, result.due, result.recalled) == (request.position, request.due, recalled)


def _change_holds(result: Changed, request: Request) -> bool:
    now = (request.pickup_location, request.need_before)
    return not result.pickup_location or now == (result.pickup_location, result.need_before)


OF_A_REQUEST: Final[Mapping[type, Callable[[Any, Request], bool]]] = MappingProxyType({
    Requested: lambda _, request: request.position in TAKES_QUOTA and not request.unwanted,
    Cancelled: lambda _, request: request.position in PATRON_CANCELLED or request.unwanted,
    Paged: lambda _, request: request.position not in LENDING_ONLY & FINAL,
    Renewed: _renewal_holds,
    CheckedOut: _checkout_holds,
    CheckedIn: lambda result, request: request.position in TAKEN_IN.get(result.what, ()),
    Noted: _notice_holds,
    Recalled: _recall_holds,
    # A staff command carries its own key, so a repetition is identical. A partner's report holds while its mark is set.
    Done: lambda result, request: not result.mark or getattr(request, result.mark) is not None,
    Changed: _change_holds,
})  # fmt: skip
"""Checks by result type: whether the result's effect on its request still holds."""

WITH_THE_COPY: Final = frozenset({Requested, Cancelled, Paged, Renewed, CheckedOut, CheckedIn, Recalled})
"""Result types whose effect ends as soon as another request holds the copy."""

NEVER_UNDONE: Final = frozenset({Billed, Paid, Refunded, Waived})
"""Result types that always hold: money is booked once, and only another booking reverses it."""


def status_stands(result: StatusSet, copy: Holding | None) -> bool:
    """Check whether a copy still has the status that was set."""
    return not result.status or copy is None or copy.status == result.status


def parts(result: object) -> tuple[object, ...]:
    """Return the results to check: each settled renewal of AllRenewed, or the result itself."""
    if isinstance(result, AllRenewed):
        return tuple(one for one in result.renewed if not one.pending)
    return (result,)


def _due_date(request: Request) -> object:
    return request.due if request.side is Side.BORROWING else request.lender_due


Result = TypeVar("Result")


def once(context: Context, key: InboxKey, work: Callable[[Context], Result]) -> Result:
    """Run `work(context)` for a new document. Return the stored reply for a repetition while its effect holds.

    If the effect was undone meanwhile (a renewal recalled, a returned copy lent again), the repetition is processed anew.
    What changed no data is not stored: refusals, and commands of a page that was overtaken. Nor are renewals that await the
    lender's decision. Their repetitions are decided again. The reply to "renew all" holds while each of its renewals holds.
    """
    unit, now = context.unit, context.now
    if kept := inbox.find(unit, key.agency, key.digest, now):
        before: Result = from_json(kept)  # the inbox stores only results
        if all(_part_holds(unit, part) for part in parts(before)):
            return before
    result = work(context)
    is_decided = not isinstance(result, Refused | Overtaken) and not (isinstance(result, Renewed) and result.pending)
    outcome, until = to_json(result) if is_decided else "", now + timedelta(seconds=key.keep_s)
    inbox.keep(unit, key.agency, key.digest, outcome, until, now)
    return result


def _part_holds(unit: UnitOfWork, result: Any) -> bool:
    """Check whether one result still holds. If its request was archived and cannot be compared, the result holds."""
    if type(result) in NEVER_UNDONE:
        return True
    if isinstance(result, StatusSet):
        return status_stands(result, unit.holdings.find(result.item))
    request = unit.requests.find(result.request)
    if request is None:
        return True
    item = (result.item if isinstance(result, Recalled) else request.item) if type(result) in WITH_THE_COPY else None
    held = unit.requests.open_with_item(item.barcode, item.agency) if item else ()
    return OF_A_REQUEST[type(result)](result, request) and all(one.id == request.id for one in held)
