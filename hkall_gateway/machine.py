"""This machine: the name of the gateway on it, whether a process runs, and whether the code is compiled."""

from __future__ import annotations

import os
from importlib.util import find_spec


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


def compiled() -> bool:
    """Return whether the installed package is the compiled build (`make wheel-compiled`)."""
    found = find_spec("hkall_gateway.rules.policy")
    return found is not None and not str(found.origin).endswith(".py")
