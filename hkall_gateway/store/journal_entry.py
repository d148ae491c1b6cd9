"""What a unit of work has done, for those who listen once it is committed."""

from __future__ import annotations

from collections.abc import Sequence

from hkall_gateway.rules.fixed import fixed
from hkall_gateway.rules.vocabulary import By, Request


@fixed(frozen=True, slots=True)
class Move:
    """One line of the journal, for the log and the metrics, once it is committed; a change with the request on both sides."""

    request: str
    event: str
    source: str
    target: str
    rule: str
    outcome: str
    partner: str
    patron: str
    by: By
    before: Request | None = None
    after: Request | None = None


def nobody_listens(_moves: Sequence[Move]) -> None:
    """What is done with the lines of a unit where nobody wants to know."""
