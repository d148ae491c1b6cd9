"""Back up a PostgreSQL database with pg_dump, and restore it in one transaction.

The dump has pg_dump's custom format. A restore reads only rows from it: our migrations create the tables at the dump's
revision, and then upgrade them. The whole restore, including repeated erasures, is one transaction, so that any failure leaves
the old database unchanged. A restore waits at most `lock_timeout_s` for running gateways, and then fails.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from sqlalchemy import Connection, Engine, inspect, text

from hkall_gateway.db import schema
from hkall_gateway.db.backup.restoring import Counts, NotRestored, new_file_beside, require_known
from hkall_gateway.db.privacy.archive import replace_target
from hkall_gateway.db.tables import METADATA

T = TypeVar("T")

_COPY: Final = re.compile(rb'COPY (?:\S+\.)?"?(\w+)"? \((.*)\) FROM stdin;\n')
_SETVAL: Final = re.compile(rb"SELECT pg_catalog\.setval\('(?:\S+\.)?(\w+)', (\d+), (true|false)\);\n")
_END: Final = b"\\.\n"
REVISIONS: Final = "alembic_version"


class NoProgram(Exception):
    """pg_dump or pg_restore is missing or has failed. The message gives the reason."""


def save(engine: Engine, target: Path) -> None:
    """Dump the database to `target` while gateways use it, and sync the file to disk. Raises NoProgram, OSError."""
    with engine.connect() as connection:
        place = str(connection.exec_driver_sql("SELECT current_schema()").scalar_one())
    where, environ = _libpq_connection(engine)
    ours = [f'--table="{place}"."{name}"' for name in (*METADATA.tables, REVISIONS)]
    with new_file_beside(target, ".new") as new:
        command = [_find_program("pg_dump"), "--format=custom", *ours, f"--file={new}", f"--dbname={where}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
        if done.returncode:
            raise NoProgram(done.stderr.strip() or f"{command[0]} failed")
        replace_target(new, target)


def restore(engine: Engine, source: Path, work: Callable[[Connection, Counts], T]) -> T:
    """Replace all rows of the database with the rows of a dump.

    Args:
        engine: The engine of the database.
        source: The dump file.
        work: Called before COMMIT, with the connection and the number of rows by table. `restore` returns its result.

    Raises:
        NotRestored: The dump is not a backup of this program. After any exception the database is unchanged.
    """
    revision = _dump_revision(source)
    with schema.remaking(engine) as connection:
        grants = [(str(name), str(grant)) for name, grant in connection.execute(_GRANTS)]
        there = set(inspect(connection).get_table_names())
        names = [name for name in (*(table.name for table in METADATA.sorted_tables), REVISIONS) if name in there]
        if names:
            connection.exec_driver_sql(f"DROP TABLE {', '.join(names)}")  # fails if the site's own views depend on a table
        schema.bring_to(connection, revision)
        rows = _load_rows(connection, source)
        schema.bring_to(connection, "head")
        _grant_again(connection, grants)
        return work(connection, rows)


_GRANTS: Final = text("""
    SELECT relname, format(
        'GRANT %s ON %s %I TO %s%s', privilege_type, CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, relname,
        CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END,
        CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_class, aclexplode(relacl)
    WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'S') AND grantee <> relowner
        AND pg_has_role(relowner, 'USAGE')
    ORDER BY relname, grantee, privilege_type
""")
"""Selects (table or sequence, GRANT statement) for each privilege of other roles. Column privileges are not included."""


def _grant_again(connection: Connection, grants: Sequence[tuple[str, str]]) -> None:
    """Restore the privileges on the tables and sequences that still exist."""
    there = {*inspect(connection).get_table_names(), *inspect(connection).get_sequence_names()}
    for name, grant in grants:
        if name in there:
            connection.exec_driver_sql(grant)


def _load_rows(connection: Connection, source: Path) -> Counts:
    """Copy the dump's rows into the tables, and return the number of rows by table."""
    rows: dict[str, int] = {}
    with _dump_script(source) as lines:
        for line in lines:
            if (found := _COPY.fullmatch(line)) and (name := found[1].decode()) != REVISIONS:
                rows[name] = _copy_table(connection, name, found[2].decode(), lines)
            elif found := _SETVAL.fullmatch(line):
                values = {"name": found[1].decode(), "last": int(found[2]), "called": found[3] == b"true"}
                connection.execute(text("SELECT setval(:name, :last, :called)"), values)
    return rows


def _copy_table(connection: Connection, table: str, columns: str, lines: Iterator[bytes]) -> int:
    """Copy the rows of one table, from the line after its COPY to the end mark. Return the number of rows."""
    if table not in METADATA.tables:
        raise NotRestored(f"the dump has a table {table}, which is none of ours")
    count = 0
    driver: Any = connection.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f'COPY "{table}" ({columns}) FROM STDIN') as copy:
        for line in lines:
            if line == _END:
                return count
            copy.write(line)
            count += 1
    raise NotRestored(f"the dump ends in the middle of {table}")


def _dump_revision(source: Path) -> str:
    """Return the revision of a dump. Raises NotRestored if the dump is foreign or from a newer version of this program."""
    with _dump_script(source, f"--table={REVISIONS}") as lines:
        found = next((next(lines) for line in lines if _COPY.fullmatch(line)), b"")
        for _rest in lines:
            pass
    revision = found.decode().strip()
    require_known(revision, source)
    return revision


@contextmanager
def _dump_script(source: Path, *options: str) -> Iterator[Iterator[bytes]]:
    """Open the dump's rows as lines of SQL and COPY data. Raises NotRestored if pg_restore cannot read the dump."""
    command = [_find_program("pg_restore"), "--data-only", "--file=-", *options, str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        lines: IO[bytes] | None = running.stdout
        assert lines is not None
        yield iter(lines)
        _output, errors = running.communicate()
    if running.returncode:
        raise NotRestored(f"{source}: {errors.decode(errors='replace').strip()}")


def _find_program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NoProgram(f"{name} is not on the PATH: install PostgreSQL's client programs, of the server's version or newer")
    return found


def _libpq_connection(engine: Engine) -> tuple[str, dict[str, str]]:
    """Return libpq's connection string, and an environment with the password, which other users could see in the string."""
    from psycopg.conninfo import make_conninfo  # installed with the extra `postgres`

    _arguments, keys = engine.dialect.create_connect_args(engine.url)
    password = keys.pop("password", None)
    kept = {name: value for name, value in keys.items() if name not in _NOT_LIBPQ}
    return make_conninfo(**kept), {**os.environ, **({"PGPASSWORD": str(password)} if password else {})}


_NOT_LIBPQ: Final[Sequence[str]] = ("context", "prepare_threshold", "autocommit", "row_factory", "cursor_factory")
