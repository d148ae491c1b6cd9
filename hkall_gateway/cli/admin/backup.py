"""Copy the database into one file, and restore it without the patrons erased and the tokens revoked since the backup."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from sqlalchemy import Connection, Engine, inspect
from sqlalchemy.exc import DBAPIError

from hkall_gateway.circulation.command import Library
from hkall_gateway.cli.opening import erased_file, erased_key, load_config, require_known, revision_of
from hkall_gateway.cli.options import WRONG, CliError, by_staff
from hkall_gateway.cli.show import echo, show
from hkall_gateway.clock import monotonic_us, now
from hkall_gateway.config.library import make_unit
from hkall_gateway.db import bind, instances
from hkall_gateway.db.backup import postgres as postgres_backup
from hkall_gateway.db.backup import restoring
from hkall_gateway.db.backup import sqlite as sqlite_backup
from hkall_gateway.db.backup.restoring import Counts, Marks, NotRestored, Restored
from hkall_gateway.db.database import Immediate
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.engine.locks import LockSet, unlocked
from hkall_gateway.db.privacy import erased, forgetting, retention
from hkall_gateway.db.privacy.archive import NotAnArchive
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.dates import HONG_KONG

P = ParamSpec("P")
T = TypeVar("T")

BESIDE: Final = "hkall.erased"
"""Name of the file, beside the backups, with the marks of erased patrons and revoked tokens. A restore applies them all."""
DATED: Final = re.compile(r"hkall-\d{4}-\d\d-\d\dT\d{6}\.backup")

_TIME_OF_BACKUP: Final = LockSet(document=("", "backup"))
"""Lock of the time of the last backup, since several machines may start one in the same night."""
_FAULTS: Final = (NotRestored, postgres_backup.NoProgram, erased.OtherKey, NotAnArchive, OSError, ValueError, sqlite3.Error)


def backup(config: Path, file: Path, *, force: bool = False, keep: int | None = None, as_json: bool = False) -> None:
    """Copy the database into `file`, and the marks of erased patrons into a file beside it.

    If `file` is a folder, the backup gets a dated name in it. The database may be at any revision that this program knows.
    """
    in_folder = file.is_dir()
    if keep is not None and not in_folder:
        raise CliError(f"--keep: {file} is no folder", WRONG)
    if in_folder:
        file = file / f"hkall-{now().astimezone(HONG_KONG):%Y-%m-%dT%H%M%S}.backup"
    if file.exists() and not force:
        raise CliError(f"{file} is there already; --force writes over it")
    found, library = load_config(config)
    engine = open_engine(found.database.url, found.database.limits())
    _require_content(engine, config)
    with closing(Immediate(engine, make_unit(library))) as store:
        started = now()
        last = store.write_now(bind(restoring.record_backup, started), _TIME_OF_BACKUP)
        try:
            known = erased.merge_marks(
                restoring.readable_marks(engine, make_unit(library)), erased.read_file(erased_file(found, config))
            )
            marks = erased.add_to_file(file.absolute().with_name(BESIDE), known)
            (sqlite_backup if engine.dialect.name == "sqlite" else postgres_backup).save(engine, file)
            deleted = _delete_older(file.parent, keep) if keep is not None else 0
        except _FAULTS as error:
            store.write_now(bind(restoring.forget_backup, started, last), _TIME_OF_BACKUP)
            raise CliError(f"{error}\nno backup was made") from None
    engine.dispose()
    size = file.stat().st_size
    if keep is None or as_json:
        show([{"file": str(file), "bytes": size, "erased": len(marks)}], as_json)
    else:
        echo(f"backup: {file}, {size} bytes; {deleted} older deleted")


def _delete_older(folder: Path, keep: int) -> int:
    """Delete all but the newest backups with dated names, and return how many were deleted."""
    older = sorted(path for path in folder.iterdir() if DATED.fullmatch(path.name))[:-keep]
    for path in older:
        path.unlink()
    return len(older)


def _require_content(engine: Engine, config: Path) -> None:
    """Exit with code 2 if the database does not exist yet, or if a newer version of the program has upgraded it."""
    file = forgetting.file_of(engine)
    revision = "" if file is not None and not file.exists() else revision_of(engine, config)  # connecting would create the file
    if not revision:
        raise CliError(f"{config}: database.url: there is no database of this program: nothing to copy", WRONG)
    require_known(revision)


class Progress:
    """Prints the estimated time and the progress of comparing cards with slow marks, on standard error."""

    def __init__(self, clock_us: Callable[[], int] = monotonic_us) -> None:
        self._clock_us, self._began_us, self._shown = clock_us, 0, -1

    def __call__(self, done: int, cards: int) -> None:
        """Report that `done` of `cards` cards have been compared. On the first such call, estimate the total time."""
        if not done:
            self._began_us, self._shown = self._clock_us(), -1
            return
        tenth = 10 * done // cards
        if self._shown < 0 < cards - done:
            whole_s = (self._clock_us() - self._began_us) / 1e6 * cards / done
            span = f"{whole_s / 60:.0f} minutes" if whole_s >= 90 else f"{whole_s:.0f} seconds"
            echo(f"comparing {cards:,} cards with the slow marks of erased patrons: about {span}", err=True)
        if tenth > max(self._shown, 0) and cards - done:
            echo(f"{tenth * 10} %", err=True)
        self._shown = max(self._shown, tenth, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """The database that a backup replaces, and the marks of erased patrons that apply to it."""

    engine: Engine
    library: Library
    erased_file: Path
    marks: Marks
    force: bool

    def work(self, connection: Connection, rows: Counts) -> Restored:
        """Finish the restore in the open transaction of `connection`, and return the result."""
        return restoring.finish_restore(self.unit(connection), rows, self.marks, now(), by_staff("restore"))

    def unit(self, connection: Connection) -> UnitOfWork:
        return make_unit(self.library)(connection)


def restore(file: Path, further: Path | None, config: Path, *, force: bool, as_json: bool) -> None:
    """Restore the database from the backup `file`, then erase patrons and revoke tokens again, and end all sessions."""
    if not file.exists():
        raise CliError(f"{file}: no such file")
    target = _open_target(config, file, further, force)
    _require_free(target)
    try:
        erased.add_to_file(target.erased_file, target.marks.known)
        done = _restore_file(target, file)
    except _FAULTS as error:
        raise CliError(str(error)) from None
    except DBAPIError as error:
        raise CliError(f"nothing was changed: {error.orig}") from None
    made = done.made_at.isoformat(timespec="seconds") if done.made_at else ""
    rows = [{"what": "restored", "count": done.rows, "detail": f"backup of {made or 'an unknown time'}"}]
    rows += [{"what": "erased again", "count": len(done.again), "detail": ""}]
    rows += [{"what": "erased again in archives", "count": _again_in_archives(target), "detail": ""}]
    rows += [{"what": "sessions ended", "count": done.sessions, "detail": ""}]
    rows += [{"what": "token revoked again", "count": 1, "detail": name} for name in done.revoked_again]
    rows += [{"what": "token in force", "count": 1, "detail": f"{token.name} ({token.role})"} for token in done.tokens]
    open_ = [one for again in done.again for one in again.stays]
    rows += [{"what": f"stays: {one.what}", "count": 1, "detail": f"{one.which} {one.why}".strip()} for one in open_]
    show(rows, as_json)


def _open_target(config: Path, file: Path, further: Path | None, force: bool) -> _Target:
    found, library = load_config(config)
    engine = open_engine(found.database.url, found.database.limits())
    files = [erased_file(found, config), file.absolute().with_name(BESIDE), *([further] if further else [])]
    try:
        known = erased.merge_marks(restoring.readable_marks(engine, make_unit(library)), *map(erased.read_file, files))
    except (OSError, ValueError) as error:
        raise CliError(str(error)) from None
    engine.dispose()
    return _Target(
        engine=engine, library=library, erased_file=files[0], marks=Marks(known, erased_key(found), Progress()), force=force
    )


def _require_free(target: _Target) -> None:
    """Exit with code 1 if gateways are running or the database is not empty, unless --force was given."""
    if target.force or _is_new(target.engine):
        return
    why = _read_from(target, _in_use, now()) or (
        _read_from(target, restoring.holds_something) and "it contains requests, patrons or a journal"
    )
    target.engine.dispose()
    if why:
        raise CliError(f"the database is not free: {why}; --force replaces it")


def _is_new(engine: Engine) -> bool:
    """Return whether the database is missing or has none of our tables. Raise CliError if it cannot be read."""
    file = forgetting.file_of(engine)
    if file is not None and not file.exists():
        return True
    try:
        return not inspect(engine).has_table("requests")
    except DBAPIError as error:
        raise CliError(f"the database cannot be read: {error.orig}; --force replaces it") from None
    finally:
        engine.dispose()


def _in_use(unit: UnitOfWork, when: datetime) -> str:
    up = [one.name for one in instances.list_instances(unit) if one.state(when) == "up"]
    return f"gateway {', '.join(up)} works with it" if up else ""


def _read_from(target: _Target, query: Callable[Concatenate[UnitOfWork, P], T], *args: P.args, **named: P.kwargs) -> T:
    with closing(Immediate(target.engine, target.unit)) as store:
        return store.read_now(query, *args, **named)


def _restore_file(target: _Target, file: Path) -> Restored:
    if target.engine.dialect.name == "postgresql":
        return postgres_backup.restore(target.engine, file, target.work)
    place = forgetting.file_of(target.engine)
    if place is None:
        raise NotRestored("a database in memory cannot be restored")
    return sqlite_backup.restore(file, place, partial(_in_file, target), damaged=target.force)


def _in_file(target: _Target, engine: Engine, rows: Counts) -> Restored:
    with closing(Immediate(engine, target.unit)) as store:
        finish = bind(restoring.finish_restore, rows, target.marks, now(), by_staff("restore"))
        return store.write_now(finish, unlocked("no gateway works with the database yet"))


def _again_in_archives(target: _Target) -> int:
    """Erase patrons again in archives that were restored from a copy. Return the number of erased records."""
    policy = target.library.policy.retention.archive_file
    files = {Path(name).absolute() for name in (*_read_from(target, retention.archives), *([policy] if policy else []))}
    marks, count = target.marks, 0
    try:
        for file in sorted(file for file in files if file.exists()):
            found = erased.match_cards(forgetting.cards_in_archive(file), marks.known, marks.key, marks.watch)
            count += forgetting.forget_again_in_archive(file, [(card, mark.at) for card, mark in found])
    except (NotAnArchive, erased.OtherKey, OSError) as error:
        raise CliError(f"the database is restored, but {error}") from None
    return count
