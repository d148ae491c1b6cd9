"""The start checks of this machine's gateway, for the commands that tell or obey them."""

from __future__ import annotations

import os
from pathlib import Path

from hkall_gateway.clock import now
from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.machine import instance, number, runs
from hkall_gateway.rules.settings import Policy
from hkall_gateway.start_checks.faults import Start, StartFault
from hkall_gateway.start_checks.table import find_faults
from hkall_gateway.wiring.serving import Serving


def find_start_faults(
    path: Path, config: GatewayConfig, policy: Policy, serving: Serving = Serving.ALL, *, running: bool = True
) -> list[StartFault]:
    """Return what would stop or disturb a start here. `running`: the gateway may be running now, and hold its own ports."""
    trust_clock = bool(os.environ.get("HKALL_TRUST_CLOCK"))
    return find_faults(Start(path, config, policy, instance(), number(), now(), runs, serving, running, trust_clock))
