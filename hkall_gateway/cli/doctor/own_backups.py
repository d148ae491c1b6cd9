"""Checks the last backup, PostgreSQL's archive of the write-ahead log, and the files that were not loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select, text
from sqlalchemy.exc import SQLAlchemyError

from hkall_gateway.app.start_checks.database import open_to_read
from hkall_gateway.app.start_checks.files import database_file
from hkall_gateway.cli.doctor.findings import Sheet
from hkall_gateway.config.gateway import DatabaseConfig
from hkall_gateway.db.instances import BACKUP, refused_loads
from hkall_gateway.db.loads import whole_files
from hkall_gateway.db.tables import JOBS

BACKUP_DUE: Final = timedelta(hours=36)
"""Age of the last backup after which a nightly backup is missing."""
BASE_DUE: Final = timedelta(days=8)
"""Age of the last base backup after which a weekly one is missing."""
UNFINISHED_DUE: Final = timedelta(minutes=15)
"""Time after which the gateway should have carried on with an interrupted load."""
PAGE: Final = "docs/point-in-time.md"
NEW_BASE: Final = f"Make a base backup: the line with `pg_basebackup` in {PAGE}."

_ARCHIVE: Final = text("""
    SELECT current_setting('archive_mode') AS mode, current_setting('archive_command') AS command,
        last_archived_time AS archived_at, last_failed_time AS failed_at, last_failed_wal AS failed_file, failed_count
    FROM pg_stat_archiver""")
_MAY_READ_BASE: Final = text("SELECT has_function_privilege('pg_ls_waldir()', 'EXECUTE')")
# Each base backup leaves a history file in the folder of the write-ahead log until the next one.
# Source: PostgreSQL, "Making a Base Backup Using the Low Level API".
_BASE: Final = text(r"SELECT max(modification) FROM pg_ls_waldir() WHERE name ~ '\.backup$'")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveState:
    """What PostgreSQL tells about its archive. `may_read_base` is False if we may not see the time of the base backup."""

    mode: str
    command: str
    archived_at: datetime | None
    failed_at: datetime | None
    failed_file: str | None
    failed_count: int
    base_at: datetime | None = None
    may_read_base: bool = True


def check_backups(sheet: Sheet, database: DatabaseConfig, now: datetime) -> None:
    """Add the findings `backup`, `loads` and `archive`. The database is at the revision of this program."""
    archive = None
    engine = open_to_read(database)
    try:
        with engine.connect() as connection:
            made_at = connection.execute(select(JOBS.c.last_run).where(JOBS.c.name == BACKUP)).scalar()
            refused = read_refused_loads(connection)
            unfinished = whole_files.unfinished(connection)
            if database_file(database) is None:
                archive = _read_archive(connection)
    except SQLAlchemyError as error:
        sheet.fail("backup", f"cannot be read: {' '.join(str(getattr(error, 'orig', None) or error).split())}"[:300])
        return
    finally:
        engine.dispose()
    judge_backup(sheet, made_at, now)
    for kind, at in refused.items():
        what = f"the file of {kind} was refused on {at:%Y-%m-%d %H:%M} UTC: the data are older"
        sheet.fail(
            "loads", what, f"Run `journalctl -u hkall-gateway-load@{kind}` for the reason, and export the file again.", kind
        )
    for kind, at in unfinished.items():
        if now - at > UNFINISHED_DUE:
            what = f"the load of {kind} stands still since {at:%Y-%m-%d %H:%M} UTC: only a part of the file is in effect"
            sheet.fail("loads", what, f"Load the file of {kind} again, with --force if it stands still again.", kind)
    if not refused:
        sheet.ok("loads", "no file was refused since the last load")
    if archive is None:
        sheet.ok("archive", "SQLite has none: `backup` is all")
    else:
        judge_archive(sheet, archive, now)


def _read_archive(connection: Connection) -> ArchiveState:
    row = connection.execute(_ARCHIVE).mappings().one()
    may_read_base = bool(connection.execute(_MAY_READ_BASE).scalar_one())
    base_at = connection.execute(_BASE).scalar_one() if may_read_base else None
    return ArchiveState(**row, base_at=base_at, may_read_base=may_read_base)


def read_refused_loads(connection: Connection) -> Mapping[str, datetime]:
    """Return when a file was refused last, for each kind of load that has not succeeded since."""
    return refused_loads({str(name): at for name, at in connection.execute(select(JOBS.c.name, JOBS.c.last_run))})


def judge_backup(sheet: Sheet, made_at: datetime | None, now: datetime) -> None:
    """Add the finding about the last backup that succeeded."""
    if made_at is None:
        sheet.warn("backup", "none was ever made with `backup`")
    elif now - made_at > BACKUP_DUE:
        sheet.fail("backup", f"the last one succeeded {_age(now - made_at)} ago, on {made_at:%Y-%m-%d %H:%M} UTC")
    else:
        sheet.ok("backup", f"the last one succeeded {_age(now - made_at)} ago")


def judge_archive(sheet: Sheet, archive: ArchiveState, now: datetime) -> None:
    """Add the finding about PostgreSQL's archive of the write-ahead log and about the base backup that it continues."""
    failed_at, archived_at = archive.failed_at, archive.archived_at
    if archive.mode == "off":
        sheet.ok("archive", f"PostgreSQL archives nothing, so `backup` is all ({PAGE} has more)")
    elif failed_at is not None and (archived_at is None or failed_at > archived_at):
        since = f"{archived_at:%Y-%m-%d %H:%M} UTC" if archived_at else "the beginning"
        what = f"nothing was archived since {since}: archive_command failed {archive.failed_count} times"
        sheet.fail("archive", f"{what}, last for {archive.failed_file} ({archive.command})")
    elif archived_at is None:
        sheet.warn("archive", "nothing was archived yet", "Run `SELECT pg_switch_wal()` in PostgreSQL, and look again.")
    elif not archive.may_read_base:
        grant = "Run in the gateway's database, as postgres: GRANT EXECUTE ON FUNCTION pg_ls_waldir() TO hkall."
        sheet.warn("archive", "works; this role may not read when the last base backup was made", grant)
    elif archive.base_at is None:
        sheet.fail("archive", "works, but there is no base backup: the archive alone restores nothing", NEW_BASE)
    elif now - archive.base_at > BASE_DUE:
        sheet.fail("archive", f"works, but the last base backup was made {_age(now - archive.base_at)} ago", NEW_BASE)
    else:
        detail = f"last file {_age(now - archived_at)} ago, last base backup {_age(now - archive.base_at)} ago"
        sheet.ok("archive", detail)


def _age(age: timedelta) -> str:
    minutes = max(int(age.total_seconds() // 60), 0)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 48 * 60 else f"{age.days} days"
