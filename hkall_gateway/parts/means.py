"""What `daemon.py` alone knows and hands to whoever makes a part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hkall_gateway.config.gateway import Gateway
from hkall_gateway.edge.metrics import Metrics
from hkall_gateway.rules.vocabulary import Sensitive


@dataclass(frozen=True, slots=True)
class Means:
    """The reactor, the clock (the aware UTC instant), the environment, the metrics, and the configuration of now."""

    reactor: Any
    clock: Callable[[], datetime]
    environ: Mapping[str, str]
    metrics: Metrics
    config: Callable[[], Gateway]

    def secret(self, variable: str | None) -> Sensitive:
        """What stands in an environment variable; nothing where none is named or set."""
        return Sensitive(self.environ.get(variable or "", ""))
