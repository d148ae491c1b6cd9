"""This machine: the name of the gateway on it, and whether a process runs."""

from __future__ import annotations

import os


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
