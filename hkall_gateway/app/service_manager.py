"""Notifies systemd (ready, reloading, stopping, watchdog), and stores the result of a reload.

Source: sd_notify(3), sd_watchdog_enabled(3); systemd.exec(5) for RUNTIME_DIRECTORY.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final

from hkall_gateway.clock import Clock, monotonic_us

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


class ServiceManager:
    """Sends states to systemd's socket (NOTIFY_SOCKET in `environ`), or does nothing without such a socket.

    `pid` is this process's id. A watchdog that systemd has set for another process is ignored.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self._watchdog_s = _watchdog_s(environ, pid)
        self._environ, self._reloads = environ, 0

    def notify(self, *states: str) -> None:
        """Send the states in one datagram. Ignore failures, since no caller depends on the notification."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.setblocking(False)
            to.sendto("\n".join(states).encode(), self._address)

    def reloading(self) -> None:
        """Announce a reload, which ends with the next READY. Units with `Type=notify-reload` need the timestamp."""
        self.notify("RELOADING=1", f"MONOTONIC_USEC={monotonic_us()}")

    def reloaded(self, errors: Sequence[str], waiting: Sequence[str]) -> None:
        """Store the result of a reload (errors, and keys that need a restart) for the command that requested it."""
        self._reloads += 1
        file = _outcome(self._environ)
        if file is not None:
            outcome = {"number": self._reloads, "at": monotonic_us(), "errors": errors, "waiting": waiting}
            new = file.with_suffix(".new")
            with suppress(OSError):
                new.write_text(json.dumps(outcome), encoding="utf-8")
                new.replace(file)

    def watch(self, clock: Clock) -> None:
        """Notify the watchdog twice per period, as long as the reactor runs."""
        if self._watchdog_s:
            self.notify(ALIVE)
            clock.callLater(self._watchdog_s / 2, partial(self.watch, clock))


def read_reload(environ: Mapping[str, str]) -> Mapping[str, Any]:
    """Return the stored result of the last reload, or {} if there is no result or no runtime directory."""
    file = _outcome(environ)
    with suppress(OSError, ValueError):
        found: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
        return found
    return {}


def _outcome(environ: Mapping[str, str]) -> Path | None:
    folder = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    return Path(folder) / "reload.json" if folder else None


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float:
    """Return the watchdog's period in seconds, or 0.0 if this process has no watchdog."""
    period = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
    return int(period) / 1e6 if period.isdecimal() and meant else 0.0
