"""How the lines to partners are, as a unit of work sees them: one row of LINKS each, beside the directory entry."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, or_, select, update

from hkall_gateway.rules.breaker import UP, Link
from hkall_gateway.store.prepared import Prepared, changing
from hkall_gateway.store.tables import LINKS

_COLUMNS = (LINKS.c.agency, LINKS.c.state, LINKS.c.failures, LINKS.c.down_since, LINKS.c.heard_at, LINKS.c.rests_until)

_KEPT = ("state", "failures", "down_since", "heard_at", "rests_until")
_KEEP = changing(LINKS, ("agency",), _KEPT)
_ALL = Prepared(select(*_COLUMNS).order_by(LINKS.c.agency))
_ONE = Prepared(select(*_COLUMNS).where(LINKS.c.agency == bindparam("of")))


class Links:
    """Reads and writes of the lines' state. A recipient that is in no directory has none, and counts as up."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self) -> Mapping[str, Link]:
        """Every line, by agency."""
        return {row["agency"]: _link(row) for row in _ALL.rows(self._connection)}

    def one(self, agency: str) -> Link:
        """The line to one partner."""
        row = _ONE.first(self._connection, of=agency)
        return _link(row) if row else Link(agency)

    def keep(self, link: Link) -> None:
        """Write down how a line is now."""
        _KEEP.change(self._connection, was_agency=link.agency, **{f"new_{name}": getattr(link, name) for name in _KEPT})

    def take_trial(self, agency: str, now: datetime, until: datetime) -> bool:
        """Whether this gateway may try a line that is down; no other may before `until`."""
        free = or_(LINKS.c.rests_until.is_(None), LINKS.c.rests_until <= now)
        taken = self._connection.execute(update(LINKS).where(LINKS.c.agency == agency, free).values(rests_until=until))
        return taken.rowcount == 1


def _link(row: Mapping[Any, Any]) -> Link:
    return Link(**{**row, "state": row["state"] or UP})
