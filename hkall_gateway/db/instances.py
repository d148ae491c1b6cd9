"""Gateway instances on one database: their state, their terminals, and the release of work claimed by failed instances."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, delete, insert, or_, select, update

from hkall_gateway.db.engine.compiled import insert_or_write_over
from hkall_gateway.db.queries import cli_lists
from hkall_gateway.db.requests import BLANK
from hkall_gateway.db.tables import HELD_CONFIGURATIONS, INSTANCES, JOBS, OUTBOX, SECRET_USES, TERMINAL_ACTIVITY
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Actor

T = TERMINAL_ACTIVITY.c
FORGOTTEN: Final = timedelta(days=30)
"""Time without a heartbeat after which other gateways delete a gateway's rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalActivity:
    """A terminal's activity at one gateway.

    Attributes:
        login: Login name, or "" for refused logins with unknown names.
        refused: Number of refused logins since the gateway process started.
        seen_at: Time at which the gateway recorded the activity.
    """

    instance: str
    login: str
    role: str
    location: str
    connections: int
    last_code: str
    last_at: datetime | None
    refused: int
    refused_why: str
    refused_at: datetime | None
    seen_at: datetime


def write_terminals(unit: UnitOfWork, instance: str, rows: Sequence[TerminalActivity], now: datetime) -> None:
    """Replace the terminal rows of a gateway, and delete outdated rows of all gateways."""
    unit.execute(delete(TERMINAL_ACTIVITY).where(or_(T.instance == instance, T.seen_at < now - FORGOTTEN)))
    if rows:
        unit.execute(insert(TERMINAL_ACTIVITY), [asdict(row) for row in rows])


def terminals(unit: UnitOfWork) -> tuple[TerminalActivity, ...]:
    """Return the terminals of all gateways, sorted by login."""
    found = unit.execute(select(TERMINAL_ACTIVITY).order_by(T.login, T.instance)).mappings()
    return tuple(TerminalActivity(**row) for row in found)


BACKUP: Final = "backup"
DOCTOR: Final = "doctor"
PROXY: Final = "unreadable proxy"
"""Job name under which the pages record that a reverse proxy has named no address of a caller."""
WORK: Final = (BACKUP, DOCTOR, "load holdings", "load patrons")


def record(unit: UnitOfWork, name: str, when: datetime | None, count: int = 0) -> None:
    """Record when the job `name` last ran, with a count such as the number of failed doctor checks."""
    values = {"last_run": when, "count": count}
    unit.execute(insert_or_write_over(JOBS, unit.dialect, values), {"name": name, **values})


LOADS: Final = ("patrons", "holdings", "closures", "partners", "requests")
"""The kinds of files that `load` reads."""


def record_load(unit: UnitOfWork, kind: str, now: datetime) -> None:
    """Record that a file was loaded."""
    record(unit, f"load {kind}", now)


def record_refused_load(unit: UnitOfWork, kind: str, facts: Mapping[str, object], now: datetime, by: Actor) -> None:
    """Record that a file was not loaded, so that the data are older than the file.

    `facts` are the facts for the line of the journal. They must not name a person.
    """
    record(unit, f"refused {kind}", now)
    unit.note(BLANK, LOAD_REFUSED, {"kind": kind, **facts}, now, by)


LOAD_REFUSED: Final = "LOAD_REFUSED"
"""Journal event for a file that was not loaded."""


def refused_loads(runs: Mapping[str, datetime | None]) -> Mapping[str, datetime]:
    """Return when a file was refused last, for each kind of load that has not succeeded since.

    Args:
        runs: The times of the last runs of all jobs, by name.
    """
    refused_at = {}
    for kind in LOADS:
        refused, succeeded = runs.get(f"refused {kind}"), runs.get(f"load {kind}")
        if refused is not None and (succeeded is None or succeeded < refused):
            refused_at[kind] = refused
    return refused_at


def job_times(unit: UnitOfWork) -> Mapping[str, datetime | None]:
    """Return the time of the last run of each job, by name."""
    return {row["name"]: row["last_run"] for row in cli_lists.jobs(unit)}


def last_runs(unit: UnitOfWork) -> Mapping[str, tuple[datetime | None, int]]:
    """Return (time of the last run or None, count) for each job in WORK."""
    rows = {row["name"]: (row["last_run"], row["count"]) for row in cli_lists.jobs(unit)}
    return {name: rows.get(name, (None, 0)) for name in WORK}


I = INSTANCES.c  # noqa: E741  # one letter, like the columns of other tables

STATES: Final = ("up", "left", "gone")
GONE_S: Final = 60
"""Seconds without a heartbeat after which a gateway counts as gone, and its work is released."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """A gateway process. `name` is unique in the database, and an orderly stop sets `left_at`.

    `ports` has the numbers of the network ports that it has opened, separated by blanks. It is empty during the start, and in
    the row of an older version.
    """

    name: str
    host: str
    pid: int
    version: str
    since: datetime
    seen_at: datetime
    left_at: datetime | None = None
    ports: str = ""

    def state(self, now: datetime) -> str:
        """Return "up", "left" (after an orderly stop) or "gone" (no heartbeat)."""
        if self.left_at is not None:
            return "left"
        return "gone" if self.seen_at < _silent_since(now) else "up"


def list_instances(unit: UnitOfWork) -> tuple[Instance, ...]:
    """Return all gateways seen in the last month, sorted by name."""
    return tuple(Instance(**row) for row in unit.execute(select(INSTANCES).order_by(I.name)).mappings())


def named(unit: UnitOfWork, name: str) -> Instance | None:
    """Return the gateway with this name, or None if it is unknown."""
    row = unit.execute(select(INSTANCES).where(I.name == name)).mappings().first()
    return Instance(**row) if row else None


def record_instance(unit: UnitOfWork, me: Instance) -> None:
    """Insert the row of this gateway, or replace an earlier row with the same name."""
    values = asdict(me)
    unit.execute(insert_or_write_over(INSTANCES, unit.dialect, values), values)


SecretUses = Mapping[tuple[str, str], datetime]
"""When a partner or client last sent a secret, by its agency and the variable that holds the secret."""


def write_secret_uses(unit: UnitOfWork, uses: SecretUses) -> None:
    """Write when these secrets were last used."""
    rows = [{"agency": agency, "variable": variable, "at": at} for (agency, variable), at in sorted(uses.items())]
    if rows:
        unit.execute(insert_or_write_over(SECRET_USES, unit.dialect, ["at"]), rows)


def secret_uses(connection: Connection) -> SecretUses:
    """Return when each secret was last used."""
    rows = connection.execute(select(SECRET_USES))
    return {(row.agency, row.variable): row.at for row in rows}


def record_configuration(unit: UnitOfWork, name: str, fingerprints: str, now: datetime) -> None:
    """Record what configuration this gateway holds, and forget that of gateways without a row."""
    values = {"instance": name, "at": now, "fingerprints": fingerprints}
    unit.execute(insert_or_write_over(HELD_CONFIGURATIONS, unit.dialect, values), values)
    known = select(INSTANCES.c.name)
    unit.execute(delete(HELD_CONFIGURATIONS).where(HELD_CONFIGURATIONS.c.instance.not_in(known)))


def held_configurations(unit: UnitOfWork) -> Mapping[str, str]:
    """Return the fingerprints of the configuration that each gateway holds, by the gateway's name."""
    rows = unit.execute(select(HELD_CONFIGURATIONS)).mappings()
    return {row["instance"]: row["fingerprints"] for row in rows}


def release_work(unit: UnitOfWork, now: datetime, silent: Collection[str] | None = None) -> int:
    """Release messages and scheduled jobs claimed by gateways that are gone, and return the number of messages.

    Args:
        unit: The unit of work.
        now: The current time.
        silent: The names of the gateways that are gone, or None to judge by the age of their heartbeats.
    """
    is_silent = I.seen_at < _silent_since(now) if silent is None else I.name.in_(silent)
    absent = or_(is_silent, I.left_at.is_not(None))
    unit.execute(delete(INSTANCES).where(I.seen_at < now - FORGOTTEN))
    gone = [str(name) for name in unit.execute(select(I.name).where(absent)).scalars()]
    held = select(OUTBOX.c.id).where(OUTBOX.c.lease_until.is_not(None), OUTBOX.c.claimed_by.in_(gone))
    if unit.dialect != "sqlite":
        held = held.with_for_update(skip_locked=True)  # another gateway may be releasing the same rows
    rows = list(unit.execute(held).scalars()) if gone else []
    unit.outbox.interrupted(rows, now)
    if gone:
        unit.execute(update(JOBS).where(JOBS.c.claimed_by.in_(gone)).values(claimed_by="", lease_until=None))
    return len(rows)


def _silent_since(now: datetime) -> datetime:
    return now - timedelta(seconds=GONE_S)
