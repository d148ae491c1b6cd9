"""The work of the night: when it was last done, for `status` and the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from hkall_gateway.db.engine.upsert import insert_or_write_over
from hkall_gateway.db.queries import cli_lists
from hkall_gateway.db.queries.queries import Queries
from hkall_gateway.db.tables import JOBS
from hkall_gateway.db.unit import Unit

BACKUP: Final = "backup"
DOCTOR: Final = "doctor"
WORK: Final = (BACKUP, DOCTOR, "load holdings", "load patrons")


def record(unit: Unit, name: str, when: datetime | None, count: int = 0) -> None:
    """Record that it was done; `count` is what the work counts, such as the failed checks of the doctor."""
    values = {"last_run": when, "count": count}
    unit.execute(insert_or_write_over(JOBS, unit.dialect, values), {"name": name, **values})


def done(unit: Queries) -> Mapping[str, tuple[datetime | None, int]]:
    """Return for each of WORK when it was last done, None if never, and its count."""
    rows = {row["name"]: (row["last_run"], row["count"]) for row in cli_lists.jobs(unit)}
    return {name: rows.get(name, (None, 0)) for name in WORK}
