"""Idempotency: a repeated document gets the kept outcome while its effect holds, inside one unit of work."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.circulation.common import effects
from hkall_gateway.circulation.common.context import Context
from hkall_gateway.circulation.messages.partner_commands import StatusSet
from hkall_gateway.circulation.messages.results import Refused, Renewed
from hkall_gateway.db import inbox
from hkall_gateway.db.unit import Unit
from hkall_gateway.rules.messages.json_records import from_json, to_json

Said = TypeVar("Said")


def once(context: Context, key: InboxKey, work: Callable[[Context], Said]) -> Said:
    """Run `work(context)` for a new document; for a repeated one return the kept outcome while its effect still holds.

    A document is processed anew if its effect was undone since: placed and cancelled, renewed and recalled, checked in and
    lent. Refusals changed no data and are not kept, nor are renewals that the lender is still being asked about: both are
    decided again. The outcome of renewing all is kept whole, while each of its renewals stands.
    """
    unit, now = context.unit, context.now
    until = now + timedelta(seconds=key.keep_s)
    kept = inbox.claim(unit, key.agency, key.digest, until, now)
    if kept:
        before: Said = from_json(kept)  # only outcomes are kept there
        if _stands(unit, before):
            return before
        inbox.keep(unit, key.agency, key.digest, "")
        inbox.claim(unit, key.agency, key.digest, until, now)
    outcome = work(context)
    inbox.keep(unit, key.agency, key.digest, to_json(outcome) if _settled(outcome) else "")
    return outcome


def _stands(unit: Unit, outcome: object) -> bool:
    """Whether a kept outcome still holds."""
    return all(_part_stands(unit, part) for part in effects.parts(outcome))


def _part_stands(unit: Unit, outcome: Any) -> bool:
    """Judge one outcome. That of an archived request always holds: it can no longer be compared."""
    if type(outcome) in effects.NEVER_UNDONE:
        return True
    if isinstance(outcome, StatusSet):
        return effects.status_stands(outcome, unit.holding(outcome.item))
    request = unit.request(outcome.request)
    if request is None:
        return True
    with_copy = type(outcome) in effects.WITH_THE_COPY and request.item is not None
    held = unit.requests_with(request.item_barcode, request.item_agency) if with_copy else ()
    return effects.OF_A_REQUEST[type(outcome)](outcome, request) and all(one.id == request.id for one in held)


def _settled(outcome: object) -> bool:
    return not isinstance(outcome, Refused) and not (isinstance(outcome, Renewed) and outcome.pending)
