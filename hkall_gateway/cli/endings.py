"""Turn errors of the environment (disk, network, database) into one line with a remedy and an exit code."""

from __future__ import annotations

import errno
import sqlite3
import tomllib
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from hkall_gateway.cli.options import WRONG, CliError
from hkall_gateway.config.loading import ConfigErrors
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.outbox import NewerRow
from hkall_gateway.net.closed_folder import cannot_enter, closed_folder

_REMEDIES: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_name("remedies.toml").read_text(encoding="utf-8"))
SQLITE: dict[int, str] = {getattr(sqlite3, code): remedy for code, remedy in _REMEDIES["sqlite"].items()}
POSTGRESQL = _REMEDIES["postgresql"]
FILES: dict[int, str] = {getattr(errno, code): remedy for code, remedy in _REMEDIES["files"].items()}

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
    if isinstance(error, OSError) and isinstance(error.filename, str) and (closed := closed_folder(Path(error.filename))):
        return CliError(f"{error.filename}: {cannot_enter(closed)}")
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
