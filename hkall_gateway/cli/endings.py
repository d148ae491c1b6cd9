"""Turn errors of the environment (disk, network, database) into one line with a remedy and an exit code."""

from __future__ import annotations

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError

from hkall_gateway.cli.options import WRONG, CliError
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.outbox import NewerRow

# fmt: off
SQLITE: dict[int, str] = {
    sqlite3.SQLITE_FULL:     "free space on its disk, then run the command again",
    sqlite3.SQLITE_IOERR:    "look at its disk (full, or failing), then run the command again",
    sqlite3.SQLITE_READONLY: "run the command as the user that owns the file, as in `sudo -u hkall`",
    sqlite3.SQLITE_CANTOPEN: "see that its folder exists and belongs to the user that runs the command",
    sqlite3.SQLITE_BUSY:     "another process writes: try again",
    sqlite3.SQLITE_CORRUPT:  "restore the last backup: hkall-gateway restore FILE --force",
    sqlite3.SQLITE_NOTADB:   "database.url names another file; see the configuration",
}
"""Remedies by SQLite's primary result code. Source: sqlite.org/rescode.html."""

POSTGRESQL: dict[str, str] = {
    "25006": "the server is a standby: database.url must name the primary",
    "42501": "grant the rights to the role of database.url",
    "53100": "free space on the server's disk, then run the command again",
    "53300": "the server has no connection left: try again, or raise max_connections",
    "57014": "it took longer than database.statement_timeout_s: try again when less is going on",
}
"""Remedies by SQLSTATE. Source: PostgreSQL, appendix A."""

FILES: dict[int, str] = {
    errno.ENOSPC: "free space on its disk, then run the command again",
    errno.EDQUOT: "free space within its owner's quota, then run the command again",
    errno.EACCES: "run the command as its owner, as in `sudo -u hkall`",
    errno.EROFS:  "its file system takes no writes: see the system's log",
}
"""Remedies for file errors, by errno."""
# fmt: on

_PRIMARY = 0xFF
AGAIN = "see that the server runs and that database.url is right, then run the command again"


def ending_of(error: Exception) -> CliError | None:
    """Return the message for an environment error, or None for a bug."""
    if isinstance(error, ConfigErrors):
        return CliError(str(error), WRONG)
    if isinstance(error, NewerRow):
        return CliError(str(error), WRONG)
    if isinstance(error, Unavailable):
        cause = ending_of(error.__cause__) if isinstance(error.__cause__, Exception) else None
        return cause or CliError(f"the database: {error}: {AGAIN}")
    if isinstance(error, DBAPIError):
        mend = way_out(error)
        return CliError(f"the database: {cause_of(error)}: {mend}") if mend else None
    if isinstance(error, OSError) and error.errno in FILES:
        return CliError(f"{error.filename or 'a file'}: {(error.strerror or str(error)).lower()}: {FILES[error.errno]}")
    if isinstance(error, ModuleNotFoundError) and error.name == "psycopg":
        return CliError("PostgreSQL needs its driver: install hkall-gateway with the extra `postgres`", WRONG)
    return None


def way_out(error: DBAPIError) -> str:
    """Return the remedy for a database error, or "" if the error is a bug in this program."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return SQLITE.get(code & _PRIMARY, "")
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state in POSTGRESQL:
        return POSTGRESQL[state]
    return AGAIN if error.connection_invalidated or not state or state[:2] in ("08", "28", "3D", "57") else ""


def cause_of(error: DBAPIError) -> str:
    """Return the driver's message on one line, since libpq reports each attempted address on separate lines."""
    lines = [line.strip() for line in str(error.orig or error).splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line and not line.startswith("Multiple connection attempts")))
