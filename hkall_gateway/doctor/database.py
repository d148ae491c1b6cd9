"""The database, opened to read: is it there, at which revision, which gateways work on it, how many patrons were loaded."""

from __future__ import annotations

from typing import Final

from hkall_gateway.doctor.findings import Sheet
from hkall_gateway.doctor.tools import ExaminationTools, TooLong, within
from hkall_gateway.start_checks.database import DatabaseState, looked_at, shown
from hkall_gateway.store import revisions

UPGRADE: Final = "Run `hkall-gateway db upgrade`."
NEWER: Final = "Install the newer version of the program here too; gateways that run already may go on until then."


async def seen(sheet: Sheet, tools: ExaminationTools) -> DatabaseState | None:
    """Returns the database's contents; None if it cannot be opened. Adds the findings `database` and `revision`."""
    found = await _looked(tools, sheet.left_s())
    if isinstance(found, str):
        sheet.fail("database", found)
        return None
    sheet.ok("database", shown(tools.means.config().database))
    if found.revision == found.head:
        sheet.ok("revision", found.head)
    elif revisions.knows(found.revision):
        sheet.fail("revision", f"at {found.revision or 'none'}, and this program needs {found.head}", UPGRADE)
    else:
        sheet.fail("revision", f"at {found.revision}, which this program does not know: it needs {found.head}", NEWER)
    return found


async def loaded(sheet: Sheet, tools: ExaminationTools) -> None:
    """The finding about the patrons that were loaded, for a connector that knows no others."""
    found = await _looked(tools, sheet.left_s())
    if isinstance(found, str):
        sheet.fail("loaded", found, "See the check `database` of the gateway.")
    elif found.patrons:
        sheet.ok("loaded", f"patrons: {found.patrons:,}")
    else:
        sheet.warn("loaded", "no patrons: nobody can borrow")


async def _looked(tools: ExaminationTools, seconds: float) -> DatabaseState | str:
    """Returns the database's contents, or the reason why it cannot be opened, as text."""
    database = tools.means.config().database
    try:
        found: DatabaseState | str = await within(tools.reactor, seconds, tools.in_thread(lambda: looked_at(database)))
    except TooLong as late:
        return str(late)
    return found
