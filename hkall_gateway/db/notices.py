"""The register of patron letters: kinds that have left about a request, and the state of a single letter."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, select

from hkall_gateway.db.engine.compiled import CompiledStatement
from hkall_gateway.db.queries.queries import Queries
from hkall_gateway.db.tables import NOTICES
from hkall_gateway.rules.stored_words import NoticeState

N = NOTICES.c


@dataclass(frozen=True, slots=True)
class SentNotice:
    """One row of the register. `kind` is the letter's Send."""

    id: int
    request: str
    kind: str
    state: NoticeState


def notice(unit: Queries, number: int) -> SentNotice | None:
    """Return the letter with this number."""
    for _, request, kind, state in _NOTICE.cells(unit.connection, number=number):
        return SentNotice(number, request, kind, NoticeState(state))
    return None


def left(unit: Queries, request: str) -> frozenset[str]:
    """Return the kinds of letters about a request that were sent and have not bounced."""
    return frozenset(kind for (kind,) in _LEFT.cells(unit.connection, of=request))


_NOTICE = CompiledStatement(select(N.id, N.request, N.kind, N.state).where(N.id == bindparam("number")))
_LEFT = CompiledStatement(select(N.kind).where(N.request == bindparam("of"), N.state == NoticeState.SENT))
