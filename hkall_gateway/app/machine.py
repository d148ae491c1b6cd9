"""This machine: the name of the gateway on it, whether a process runs, how its threads are scheduled."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Set
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final

_PR_SET_TIMERSLACK: Final = 29
"""Source: prctl(2), <linux/prctl.h>."""


def instance() -> str:
    """Return the name of this gateway among those on one database."""
    return f"{host()}-{number()}"


def host() -> str:
    """Return the name of this machine."""
    return os.uname().nodename


def number() -> str:
    """Return which of the gateways of this machine it is."""
    return os.environ.get("HKALL_INSTANCE", "1")


def runs(pid: int) -> bool:
    """Return whether a process with this id runs on this machine, under any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def listens(pid: int, port: int) -> bool | None:
    """Return whether a process listens on a TCP port; None where this user may not look at it. Source: proc(5)."""
    try:
        handles = [os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")]
    except OSError:
        return None
    rows = [line.split() for name in ("tcp", "tcp6") for line in _lines(f"/proc/{pid}/net/{name}")]
    listening = (row for row in rows if len(row) > 9 and row[3] == _LISTEN)
    return any(f"socket:[{row[9]}]" in handles for row in listening if int(row[1].rpartition(":")[2], 16) == port)


_LISTEN: Final = "0A"


def _lines(path: str) -> list[str]:
    with suppress(OSError), open(path, encoding="ascii") as file:
        return file.read().splitlines()[1:]
    return []


def address_space() -> int | None:
    """Return how many bytes of addresses this process may use (RLIMIT_AS), None if there is no limit."""
    most, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if most == resource.RLIM_INFINITY else most


def free_bytes(folder: Path) -> int | None:
    """Return the bytes that this process may still write to the disk of `folder`, None if that cannot be asked."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def may_wake_late(by_ns: int) -> None:
    """Let the timed waits of this thread end up to so many nanoseconds late; Linux's default is 50,000. Elsewhere no effect.

    A thread that begins later inherits the value of the one that started it.
    """
    if sys.platform != "linux":
        return
    _c_library().prctl(_PR_SET_TIMERSLACK, by_ns, 0, 0, 0)


def real_time(*, on: bool) -> bool:
    """Give this thread the lowest real-time priority, or take it away; return whether the system grants it.

    Threads that it starts have none. Source: sched(7).
    """
    if sys.platform != "linux":
        return False
    policy, priority = (os.SCHED_RR, 1) if on else (os.SCHED_OTHER, 0)
    try:
        os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
    except OSError:
        return False
    return True


def processor() -> int:
    """Return the number of the processor that runs this thread. Only on Linux."""
    found: int = _c_library().sched_getcpu()
    return found


def run_on(processors: Set[int]) -> None:
    """Let this thread run on these processors only. Without effect where the system allows none of them now. Only on Linux."""
    with suppress(OSError):
        os.sched_setaffinity(0, processors)


@cache
def _c_library() -> Any:
    """Return the C library. It is called with the interpreter's lock: to give it up would cost more than these calls."""
    import ctypes  # the command line does without it

    found = ctypes.PyDLL(None)
    found.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return found
