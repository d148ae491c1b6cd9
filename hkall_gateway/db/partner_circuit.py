"""The circuit state of the channels to partners: one row of LINKS each, beside the directory entry.

No query reads the whole table: the directory may name every library on earth.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, bindparam, or_, select, update

from hkall_gateway.db.engine.compiled import AMONG, VALUES, CompiledStatement, update_by_key
from hkall_gateway.db.tables import IS_USED, LINKS
from hkall_gateway.rules.circuit import UP, CircuitState

HOW = (LINKS.c.state, LINKS.c.failures, LINKS.c.down_since, LINKS.c.heard_at, LINKS.c.rests_until, LINKS.c.fault)
"""The columns of a channel's state."""

MOST = 1_000

_KEPT = tuple(column.name for column in HOW)
_KEEP = update_by_key(LINKS, ("agency",), _KEPT)
_USED = CompiledStatement(select(LINKS.c.agency).where(IS_USED).order_by(LINKS.c.agency).limit(MOST))
_LISTED = CompiledStatement(
    select(LINKS.c.agency).where(LINKS.c.partner != "").order_by(LINKS.c.agency).limit(bindparam("most"))
)
_ONE = CompiledStatement(select(LINKS.c.agency, *HOW).where(LINKS.c.agency == bindparam("of")))
_SEVERAL = {
    how: CompiledStatement(select(LINKS.c.agency, *HOW).where(among("agencies")(LINKS.c.agency)))
    for how, among in AMONG.items()
}
_FREE = or_(LINKS.c.rests_until.is_(None), LINKS.c.rests_until <= bindparam("now"))
_UNTIL = bindparam("until", type_=LINKS.c.rests_until.type)
_TRY = CompiledStatement(update(LINKS).where(LINKS.c.agency == bindparam("of"), _FREE).values(rests_until=_UNTIL))


class CircuitRepository:
    """Reads and writes the channels' state. A recipient missing from the directory has no row, and counts as up."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def used(self) -> tuple[str, ...]:
        """Return the agencies to which messages were ever sent, at most MOST, by name."""
        return tuple(row["agency"] for row in _USED.rows(self._connection))

    def listed(self, most: int) -> tuple[str, ...]:
        """Return the first agencies of the directory, at most `most`, by name."""
        return tuple(row["agency"] for row in _LISTED.rows(self._connection, most=most))

    def one(self, agency: str) -> CircuitState:
        """Return the channel to one partner."""
        return next((circuit_of(*cells) for cells in _ONE.cells(self._connection, of=agency)), CircuitState(agency))

    def several(self, agencies: Collection[str]) -> dict[str, CircuitState]:
        """Return the channels to these partners, by agency."""
        how = self._connection.dialect.name
        found = {agency: CircuitState(agency) for agency in agencies}
        for cells in _SEVERAL[how].cells(self._connection, agencies=VALUES[how](agencies)):
            found[cells[0]] = circuit_of(*cells)
        return found

    def keep(self, link: CircuitState) -> None:
        """Store the state of a channel."""
        _KEEP.write(self._connection, was_agency=link.agency, **{f"new_{name}": getattr(link, name) for name in _KEPT})

    def bring_forward(self, now: datetime) -> None:
        """Let every channel that is down be tried now: the clock was set back."""
        self._connection.execute(update(LINKS).where(LINKS.c.rests_until > now).values(rests_until=now))

    def take_trial(self, agency: str, now: datetime, until: datetime) -> bool:
        """Claim the trial of a channel that is down; False if another gateway has it. No other may try before `until`."""
        return _TRY.change(self._connection, of=agency, now=now, until=until) == 1


def circuit_of(
    agency: str,
    state: str | None,
    failures: int | None,
    down_since: datetime | None,
    heard_at: datetime | None,
    rests_until: datetime | None,
    fault: str | None,
) -> CircuitState:
    """Make a channel of its columns, in the order of HOW; all are None for a recipient missing from the directory."""
    return CircuitState(agency, state or UP, failures or 0, down_since, heard_at, rests_until, fault or "")
