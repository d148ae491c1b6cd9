"""Closed days of libraries: one more, beside those that `load closures` replaces."""

from __future__ import annotations

from datetime import date

from hkall_gateway.db.engine.statements import insert_or_write_over
from hkall_gateway.db.tables import CLOSURES
from hkall_gateway.db.unit import Unit


def add_closure(unit: Unit, agency: str, day: date, reason: str) -> None:
    """Store a closed day; one that is there gets the new reason."""
    unit.execute(insert_or_write_over(CLOSURES, unit.dialect, ["reason"]).values(agency=agency, day=day, reason=reason))
