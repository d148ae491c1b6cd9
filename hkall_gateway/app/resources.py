"""Resources that `app/daemon.py` passes to the modules that build a part of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from hkall_gateway.config.gateway import GatewayConfig
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.vocabulary import Sensitive


class Serving(StrEnum):
    """The parts of the configuration that `serve` starts: all, the pages alone, or all but the pages."""

    ALL = "all"
    WEB_ALONE = "web alone"
    WITHOUT_WEB = "without web"

    @property
    def protocols(self) -> bool:
        """Return whether terminals and partners are answered here, and messages and rounds leave from here."""
        return self is not Serving.WEB_ALONE

    @property
    def web(self) -> bool:
        """Return whether the pages are served here."""
        return self is not Serving.WITHOUT_WEB


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """The result of a reload: errors for which the old configuration stays, and changed keys that need a restart."""

    errors: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Resources:
    """The reactor, the clock (the aware UTC instant), the environment, the metrics, and the current configuration."""

    reactor: Any
    clock: Callable[[], datetime]
    environ: Mapping[str, str]
    metrics: Metrics
    config: Callable[[], GatewayConfig]

    def secret(self, variable: str | None) -> Sensitive:
        """Return the value of an environment variable; empty if none is named or set."""
        return Sensitive(self.environ.get(variable or "", ""))


class PerConfiguration(Generic[T]):
    """A part that is made from the configuration, and made anew after a reload."""

    def __init__(self, config: Callable[[], GatewayConfig], make: Callable[[], T]) -> None:
        self._config, self._make = config, make
        self._made = (config(), make())

    def __call__(self) -> T:
        """Return the part of the present configuration."""
        config = self._config()
        if self._made[0] is not config:
            self._made = config, self._make()
        return self._made[1]
