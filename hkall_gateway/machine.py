"""This machine: the name of the gateway on it, whether a process runs, how late a thread wakes; compiled code."""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib.util import find_spec
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


def may_wake_late(by_ns: int) -> None:
    """Let the timed waits of this thread end up to so many nanoseconds late; Linux's default is 50,000. Elsewhere no effect.

    A thread that begins later inherits the value of the one that started it.
    """
    if sys.platform != "linux":
        return
    _prctl()(_PR_SET_TIMERSLACK, by_ns, 0, 0, 0)


@cache
def _prctl() -> Any:
    """Return the C library's prctl. It is called with the interpreter's lock: to give it up would cost more than the call."""
    import ctypes  # the command line does without it

    found = ctypes.PyDLL(None).prctl
    found.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return found


def compiled() -> bool:
    """Return whether the installed package is the compiled build (`make wheel-compiled`)."""
    found = find_spec("hkall_gateway.rules.policy")
    return found is not None and not str(found.origin).endswith(".py")
