"""The database, opened to read: is it there, at which revision, which gateways work on it, how many patrons were loaded."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from hkall_gateway.app.start_checks.database import DatabaseState, Unopened, looked_at, read_only, shown
from hkall_gateway.app.start_checks.files import database_file
from hkall_gateway.cli.doctor.findings import ExaminationTools, Sheet, TooLong, within
from hkall_gateway.db import schema

UPGRADE: Final = "Run `hkall-gateway db upgrade`."
FAILING: Final = "Look at the disk and its mount (`dmesg`, `journalctl -k`): it fails, is full, or takes no writes."
NEWER: Final = "Install the newer version of the program here too; gateways that run already may go on until then."


async def seen(sheet: Sheet, tools: ExaminationTools) -> DatabaseState | None:
    """Returns the database's contents; None if it cannot be opened. Adds the findings `database` and `revision`."""
    found = await _looked(tools, sheet.left_s())
    if isinstance(found, Unopened):
        sheet.fail("database", found.why, FAILING if found.disk_fails else "")
        return None
    sheet.ok("database", shown(tools.means.config().database))
    if found.revision == found.head:
        sheet.ok("revision", found.head)
    elif schema.knows(found.revision):
        sheet.fail("revision", f"at {found.revision or 'none'}, and this program needs {found.head}", UPGRADE)
    else:
        sheet.fail("revision", f"at {found.revision}, which this program does not know: it needs {found.head}", NEWER)
    return found


async def loaded(sheet: Sheet, tools: ExaminationTools) -> None:
    """The finding about the patrons that were loaded, for a connector that knows no others."""
    found = await _looked(tools, sheet.left_s())
    if isinstance(found, Unopened):
        sheet.fail("loaded", found.why, "See the check `database` of the gateway.")
    elif found.patrons:
        sheet.ok("loaded", f"patrons: {found.patrons:,}")
    else:
        sheet.warn("loaded", "no patrons: nobody can borrow")


async def sound(sheet: Sheet, tools: ExaminationTools) -> None:
    """The finding about the pages and indexes of an SQLite file. A large file may take longer than there is time for."""
    file = database_file(tools.means.config().database)
    if file is None:
        sheet.ok("integrity", "PostgreSQL checks its pages itself (data_checksums)")
        return
    if not file.is_file():
        return
    errors = await _checked(tools, file, sheet.left_s() / 2)
    if errors is None:
        large = f"{file}: {file.stat().st_size / 1e6:,.0f} MB were not read in time"
        sheet.warn("integrity", large, f"In a quiet hour: `sqlite3 {file} 'PRAGMA integrity_check'`.")
    elif errors == ["ok"]:
        sheet.ok("integrity", str(file))
    else:
        sheet.fail("integrity", f"{file}: {'; '.join(errors)}"[:300])


async def _checked(tools: ExaminationTools, file: Path, seconds: float) -> list[str] | None:
    """Returns what SQLite finds wrong, ["ok"] for nothing; None if that takes longer."""
    try:
        connection = read_only(file)()
    except sqlite3.Error as bad:
        return [str(bad)]
    try:
        found = tools.in_thread(lambda: [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)")])
        return await within(tools.reactor, seconds, found)
    except TooLong:
        connection.interrupt()
        return None
    except sqlite3.Error as bad:
        return [str(bad)]
    finally:
        connection.close()


async def _looked(tools: ExaminationTools, seconds: float) -> DatabaseState | Unopened:
    """Returns the database's contents, or why it cannot be opened."""
    database = tools.means.config().database
    try:
        found: DatabaseState | Unopened = await within(tools.reactor, seconds, tools.in_thread(lambda: looked_at(database)))
    except TooLong as late:
        return Unopened(str(late))
    return found
