"""Checks the presence, permissions and disk space of the files and folders that the gateway reads or writes."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hkall_gateway.app.start_checks.faults import Effect, Start, StartFault, endpoints
from hkall_gateway.config.gateway import DatabaseConfig
from hkall_gateway.config.secret_files import ENVIRONMENT, find_environment_faults
from hkall_gateway.db.engine import connect

LEAST_BYTES: Final = 1_000_000
"""Minimum free disk space for a start. With less space, the first transaction would fail."""


def effective_access(path: Path, mode: int) -> bool:
    """Check whether this process's effective user may access a path in this mode."""
    return os.access(path, mode, effective_ids=True)


def database_file(database: DatabaseConfig) -> Path | None:
    """Return an SQLite database's file, or None for an in-memory database or a database server."""
    return connect.database_file(database.url)


def check_written(start: Start) -> Iterator[StartFault]:
    """Check the files that the gateway writes: database, log, archive, file of erased persons, UNIX sockets."""
    config = start.config
    database = database_file(config.database)
    if database is not None:
        for end in ("", "-wal", "-shm"):
            yield from _check_written_file("database.url", Path(f"{database}{end}"), folder=not end)
    if config.logs.file is not None:
        yield from _check_written_file("logs.file", config.logs.file, folder=not os.path.exists(config.logs.file))
    if config.privacy.erased_file is not None:
        yield from _check_written_file("privacy.erased_file", config.privacy.erased_file, Effect.TOLERATED)
    if start.policy.retention.archive_file:
        archive = Path(start.policy.retention.archive_file)
        yield from _check_written_file("policy retention.archive_file", archive, Effect.TOLERATED)
    for endpoint in endpoints(config, start.number, start.serving):
        kind, _, address = endpoint.text.partition(":address=")
        if kind == "unix":
            yield from _check_folder(endpoint.where, Path(address.partition(":")[0]), Effect.REFUSED)


def check_environment(start: Start) -> Iterator[StartFault]:
    """Check the lines of the environment file beside the configuration, which systemd would ignore without a word."""
    file = start.path.absolute().parent / ENVIRONMENT
    try:
        text = file.read_text(encoding="utf-8")
    except OSError:  # there is none, or only root may read it
        return
    except UnicodeDecodeError as bad:
        line = bad.object[: bad.start].count(b"\n") + 1
        yield StartFault(
            check="files", where=f"{file}:{line}", what="is not UTF-8 text", remedy="save it as UTF-8", effect=Effect.TOLERATED
        )
        return
    for number, what in find_environment_faults(text):
        message, _, remedy = what.partition(": ")
        yield StartFault(check="files", where=f"{file}:{number}", what=message, remedy=remedy, effect=Effect.TOLERATED)


def check_read(start: Start) -> Iterator[StartFault]:
    """Check the logo, which only the web pages read."""
    logo = start.config.web.logo if start.config.web is not None and start.serving.web else None
    if logo is None:
        return
    if not os.path.isfile(logo):
        yield StartFault(
            check="files",
            where="web.logo",
            what=f"{logo}: there is no such file",
            remedy="name a file that exists",
            effect=Effect.TOLERATED,
        )
    elif not effective_access(logo, os.R_OK):
        yield _access_fault("web.logo", logo, Effect.TOLERATED)


def _check_written_file(
    where: str, file: Path, effect: Effect = Effect.REFUSED, *, folder: bool = True
) -> Iterator[StartFault]:
    """Check a file. With `folder`, also check the folder in which the file or adjacent files are created."""
    faults = list(_check_folder(where, file, effect)) if folder else []
    if not faults and os.path.isdir(file):
        faults = [
            StartFault(check="files", where=where, what=f"{file}: is a folder", remedy="name a file in it", effect=effect)
        ]
    if not faults and os.path.exists(file):
        faults = list(_unwritable_reason(where, file, effect)) or list(_check_owner(where, file))
    yield from faults


def _check_folder(where: str, file: Path, effect: Effect) -> Iterator[StartFault]:
    folder = file.absolute().parent
    closed = next((one for one in reversed(folder.parents) if os.path.isdir(one) and not effective_access(one, os.X_OK)), None)
    if closed is not None:
        yield _access_fault(where, closed, effect)
    elif not os.path.exists(folder):
        remedy = f"make it, for the gateway's user: install -d -o {_owner_name(os.geteuid())} -m 750 {folder}"
        yield StartFault(check="files", where=where, what=f"{folder}: there is no such folder", remedy=remedy, effect=effect)
    elif not os.path.isdir(folder):
        yield StartFault(
            check="files", where=where, what=f"{folder}: is no folder", remedy="name a file in a folder", effect=effect
        )
    else:
        yield from _unwritable_reason(where, folder, effect)


def _unwritable_reason(where: str, path: Path, effect: Effect) -> Iterator[StartFault]:
    disk = os.statvfs(path)
    free = (disk.f_bfree if os.geteuid() == 0 else disk.f_bavail) * disk.f_frsize
    if disk.f_flag & os.ST_RDONLY:
        remedy = "mount its file system for writing, or name a path on another one"
        yield StartFault(
            check="files",
            where=where,
            what=f"{path}: is on a disk that can only be read",
            remedy=remedy,
            effect=effect,
            subject=str(path),
        )
    elif not effective_access(path, os.W_OK | (os.X_OK if os.path.isdir(path) else 0)):
        yield _access_fault(where, path, effect)
    elif free < LEAST_BYTES and disk.f_blocks:
        remedy = "free some space there, or name a path on another disk"
        yield StartFault(
            check="disk",
            where=where,
            what=f"{path}: its disk is full ({free:,} bytes free)",
            remedy=remedy,
            effect=effect,
            subject=str(path),
        )


def _check_owner(where: str, file: Path) -> Iterator[StartFault]:
    """Check, if run as root, that the folder's owner, who is presumably the service's user, can write the file."""
    found, folder = file.stat(), file.absolute().parent.stat()
    if os.geteuid() != 0 or found.st_uid == folder.st_uid:
        return
    group = found.st_gid == folder.st_gid and found.st_mode & stat.S_IWGRP
    if not group and not found.st_mode & stat.S_IWOTH:
        owner = _owner_name(folder.st_uid)
        what = f"{file}: belongs to {_owner_name(found.st_uid)}, and its folder to {owner}, who cannot write it"
        remedy = f"chown {owner} {file}"
        yield StartFault(check="files", where=where, what=what, remedy=remedy, effect=Effect.TOLERATED, subject=str(file))


def _access_fault(where: str, path: Path, effect: Effect) -> StartFault:
    found, user = path.stat(), _owner_name(os.geteuid())
    owner = f"{_owner_name(found.st_uid)} ({stat.S_IMODE(found.st_mode):o})"
    what = f"{path}: belongs to {owner}, and this user ({user}) has no access to it"
    return StartFault(
        check="files",
        where=where,
        what=what,
        remedy=f"run as the gateway's user, or chown {user} {path}",
        effect=effect,
        subject=str(path),
    )


def _owner_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # no such user, as in many containers
        return str(uid)
