"""Notifications to systemd about this process: ready, reloading, stopping, and alive.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

from hkall_gateway.clock import monotonic_us

READY: Final = "READY=1"
STOPPING: Final = "STOPPING=1"
ALIVE: Final = "WATCHDOG=1"


class ServiceManager:
    """Sends states to the socket that systemd names in `environ`; without such a socket it sends nothing.

    `pid` is this process: a watchdog that systemd set for another one is ignored.
    """

    def __init__(self, environ: Mapping[str, str], pid: int) -> None:
        name = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name
        self._watchdog_s = _watchdog_s(environ, pid)

    def notify(self, *states: str) -> None:
        """Send the states in one datagram. One that cannot be sent is left out: no caller depends on it."""
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
            to.setblocking(False)
            to.sendto("\n".join(states).encode(), self._address)

    def reloading(self) -> None:
        """Announce a reload, which the next READY ends. The time is what `Type=notify-reload` compares."""
        self.notify("RELOADING=1", f"MONOTONIC_USEC={monotonic_us()}")

    def watch(self, clock: Any) -> None:
        """Send a sign of life twice in each period of the watchdog, for as long as the main loop runs.

        `clock` has Twisted's `callLater`.
        """
        if self._watchdog_s:
            self.notify(ALIVE)
            clock.callLater(self._watchdog_s / 2, self.watch, clock)


def _watchdog_s(environ: Mapping[str, str], pid: int) -> float:
    """Return the period of the watchdog in seconds, 0.0 without one."""
    period = environ.get("WATCHDOG_USEC", "")
    meant = environ.get("WATCHDOG_PID", str(pid)) == str(pid)
    return int(period) / 1e6 if period.isdecimal() and meant else 0.0
