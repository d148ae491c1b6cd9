"""The same document again gets the same outcome, while that stands: the inbox, inside the unit of work that answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hkall_gateway.desk import effects
from hkall_gateway.desk.messages.commands import InboxKey
from hkall_gateway.desk.messages.results import Refused, Renewed
from hkall_gateway.rules.records import from_json, to_json
from hkall_gateway.store import inbox
from hkall_gateway.store.unit import Unit

Said = TypeVar("Said")


def once(unit: Unit, key: InboxKey | None, now: datetime, work: Callable[..., Said], *args: Any) -> Said:
    """`work(unit, *args)` the first time, what it answered every further time within the window, while its effect stands.

    What was placed and cancelled since, renewed and recalled, taken in and lent, is asked for anew. A refusal changed nothing
    and is not kept, nor is a renewal about which the lender is still being asked: asked again, the question is decided again.
    """
    if key is None:
        return work(unit, *args)
    until = now + timedelta(seconds=key.keep_s)
    kept = inbox.claim(unit, key.agency, key.digest, until, now)
    if kept:
        before: Said = from_json(kept)  # only outcomes are kept there
        if _stands(unit, before):
            return before
        inbox.keep(unit, key.agency, key.digest, "")
        inbox.claim(unit, key.agency, key.digest, until, now)
    outcome = work(unit, *args)
    inbox.keep(unit, key.agency, key.digest, to_json(outcome) if _settled(outcome) else "")
    return outcome


def _stands(unit: Unit, outcome: object) -> bool:
    """Whether what was answered is still so. Of a request that is in the archive nothing else can be told."""
    number = effects.request_of(outcome)
    request = unit.request(number) if number else None
    if request is None:
        return True
    held = unit.requests_with(request.item_barcode, request.item_agency) if request.item else ()
    return effects.stands(outcome, request) and all(one.id == request.id for one in held)


def _settled(outcome: object) -> bool:
    return not isinstance(outcome, Refused) and not (isinstance(outcome, Renewed) and outcome.pending)
