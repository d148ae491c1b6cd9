"""The start checks of this machine's gateway, and the reload of the one that runs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Final

from hkall_gateway.app.machine import instance, number, runs
from hkall_gateway.app.resources import Serving
from hkall_gateway.app.service_manager import read_reload
from hkall_gateway.app.start_checks.faults import Start, StartFault
from hkall_gateway.app.start_checks.table import find_faults
from hkall_gateway.cli.options import CliError
from hkall_gateway.cli.show import echo
from hkall_gateway.clock import now
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.rules.settings import Policy

RELOAD_S: Final = 60.0
"""Seconds in which a gateway must have read its configuration again."""
LOOK_S: Final = 0.05


def find_start_faults(
    path: Path, config: GatewayConfig, policy: Policy, serving: Serving = Serving.ALL, *, running: bool = True
) -> list[StartFault]:
    """Return what would stop or disturb a start here. `running`: the gateway may be running now, and hold its own ports."""
    trust_clock = bool(os.environ.get("HKALL_TRUST_CLOCK"))
    return find_faults(Start(path, config, policy, instance(), number(), now(), runs, serving, running, trust_clock))


def reload_running(pid: int) -> None:
    """Let the gateway of this process reload, and print the keys that need a restart. CliError where it keeps the old ones."""
    before = read_reload(os.environ)
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        raise CliError(f"process {pid}: {error.strerror}") from None
    if "RUNTIME_DIRECTORY" not in os.environ:
        echo(f"process {pid} reads its configuration again; its log says with which outcome")
        return
    end = time.monotonic() + RELOAD_S
    while (after := read_reload(os.environ)) == before:
        if time.monotonic() > end:
            raise CliError(f"process {pid} has not read its configuration within {RELOAD_S:.0f} s: see its log")
        time.sleep(LOOK_S)
    if errors := after.get("errors"):
        raise CliError("\n".join(f"not reloaded: {error}" for error in errors))
    waiting = after.get("waiting", [])
    echo("reloaded" + (f"; a restart is needed for {', '.join(waiting)}" if waiting else ""))
