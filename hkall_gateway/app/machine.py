"""This machine: the name of the gateway on it, whether a process runs, its memory and disk."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final


def instance() -> str:
    """Return the name of this gateway among those on one database."""
    return f"{host()}-{number()}"


def host() -> str:
    """Return the name of this machine."""
    return os.uname().nodename


def number() -> str:
    """Return which gateway of this machine this is."""
    return os.environ.get("HKALL_INSTANCE", "1")


def runs(pid: int) -> bool:
    """Return whether a process with this id runs on this machine, under any user.

    A process that has ended and is not reaped yet does not run: in a container the first process may never reap it.
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    with suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()[0] != b"Z"
    return True


def listens(pid: int, port: int) -> bool | None:
    """Return whether a process listens on a TCP port; None if this user may not look at it. Source: proc(5)."""
    try:
        handles = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    except OSError:
        return None
    rows = [line.split() for name in ("tcp", "tcp6") for line in _read_lines(f"/proc/{pid}/net/{name}")]
    listening = (row for row in rows if len(row) > 9 and row[3] == _LISTEN)
    return any(f"socket:[{row[9]}]" in handles for row in listening if int(row[1].rpartition(":")[2], 16) == port)


_LISTEN: Final = "0A"


def _read_lines(path: str) -> list[str]:
    with suppress(OSError), open(path, encoding="ascii") as file:
        return file.read().splitlines()[1:]
    return []


def address_space() -> int | None:
    """Return the bytes of addresses that this process may use (RLIMIT_AS); None without a limit."""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if most == resource.RLIM_INFINITY else most


def free_bytes(folder: Path) -> int | None:
    """Return the bytes that this process may still write to the disk of `folder`; None if unknown."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
