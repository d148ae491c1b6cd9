"""The same document again gets the same outcome: the inbox, inside the unit of work that answers."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, TypeVar

from hkall_gateway.desk.asks import InboxKey
from hkall_gateway.desk.outcomes import Refused, Renewed
from hkall_gateway.rules.records import from_json, to_json
from hkall_gateway.store import inbox
from hkall_gateway.store.unit import Unit

Said = TypeVar("Said")


def once(unit: Unit, key: InboxKey | None, now: datetime, work: Callable[..., Said], *args: Any) -> Said:
    """`work(unit, *args)` the first time, what it answered every further time within the window.

    A refusal changed nothing and is not kept, nor is a renewal about which the lender is still being asked: asked again, the
    question is decided again.
    """
    if key is None:
        return work(unit, *args)
    until = now + timedelta(seconds=key.keep_s)
    kept = inbox.claim(unit, key.agency, key.digest, until, now)
    if kept:
        return from_json(kept)  # type: ignore[no-any-return]  # only outcomes are kept there
    outcome = work(unit, *args)
    inbox.keep(unit, key.agency, key.digest, to_json(outcome) if _settled(outcome) else "")
    return outcome


def _settled(outcome: object) -> bool:
    return not isinstance(outcome, Refused) and not (isinstance(outcome, Renewed) and outcome.pending)
