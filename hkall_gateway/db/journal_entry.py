"""The journal lines of a unit of work, for listeners after the commit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hkall_gateway.rules.vocabulary import Actor, Request


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One line of the journal, for the log and the metrics after the commit; for a change, the request before and after it."""

    request: str
    event: str
    source: str
    target: str
    rule: str
    outcome: str
    partner: str
    patron: str
    by: Actor
    before: Request | None = None
    after: Request | None = None


def nobody_listens(_moves: Sequence[JournalEntry]) -> None:
    """Ignore the journal lines of a unit: the default listener."""
