"""Resources that only `daemon.py` knows and passes to the modules that build a part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.edge.metrics import Metrics
from hkall_gateway.rules.vocabulary import Sensitive


@dataclass(frozen=True, slots=True)
class Resources:
    """The reactor, the clock (the aware UTC instant), the environment, the metrics, and the current configuration."""

    reactor: Any
    clock: Callable[[], datetime]
    environ: Mapping[str, str]
    metrics: Metrics
    config: Callable[[], GatewayConfig]

    def secret(self, variable: str | None) -> Sensitive:
        """Returns the value of an environment variable; empty if none is named or set."""
        return Sensitive(self.environ.get(variable or "", ""))
