"""Information about this machine: names, processes, ports, memory and disk."""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path
from typing import Final


def instance() -> str:
    """Return this gateway's name, which is unique among the gateways on one database."""
    return f"{host()}-{number()}"


def host() -> str:
    """Return this machine's host name."""
    return os.uname().nodename


def number() -> str:
    """Return this gateway's number on this machine (HKALL_INSTANCE)."""
    return os.environ.get("HKALL_INSTANCE", "1")


def runs(pid: int) -> bool:
    """Check whether a process with this id runs on this machine, under any user.

    A zombie process does not count as running, since the first process of a container may never reap it.
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
    """Check whether a process listens on a TCP port. Return None if we may not inspect the process. Source: proc(5)."""
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
    """Return the limit on this process's address space in bytes (RLIMIT_AS), or None if unlimited."""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if most == resource.RLIM_INFINITY else most


def free_bytes(folder: Path) -> int | None:
    """Return how many bytes an unprivileged process can still write to the disk of `folder`, or None if unknown."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
