"""Shared resources that `app/daemon.py` passes to the modules that build parts of the daemon."""

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
    """The parts of the configuration that `serve` starts: everything, only the web pages, or everything but the web pages."""

    ALL = "all"
    WEB_ALONE = "web alone"
    WITHOUT_WEB = "without web"

    @property
    def protocols(self) -> bool:
        """Whether this process serves terminals and partners, sends messages and runs the scheduled jobs."""
        return self is not Serving.WEB_ALONE

    @property
    def web(self) -> bool:
        """Whether this process or its child serves the web pages."""
        return self is not Serving.WITHOUT_WEB


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    """The result of a reload.

    Attributes:
        errors: Errors in the new configuration. If there are any, the old configuration stays in force.
        waiting: Changed keys that need a restart.
    """

    errors: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Shared resources. `clock` returns the current time, aware and in UTC. `config` returns the current configuration."""

    reactor: Any
    clock: Callable[[], datetime]
    environ: Mapping[str, str]
    metrics: Metrics
    config: Callable[[], GatewayConfig]

    def secret(self, variable: str | None) -> Sensitive:
        """Return the secret in an environment variable, which is "" if `variable` is None or not set.

        It is read whenever it is used, since a reload may change the variable.
        """
        return _SecretVariable(self.environ, variable or "")


class _SecretVariable(Sensitive):
    """The secret in an environment variable, as the variable is now."""

    __slots__ = ("_environ", "_variable")

    def __init__(self, environ: Mapping[str, str], variable: str) -> None:
        super().__init__()
        self._environ, self._variable = environ, variable

    def reveal(self) -> str:
        """Return the plain text."""
        return self._environ.get(self._variable, "")


class PerConfiguration(Generic[T]):
    """A part that is built from the configuration and rebuilt after a reload."""

    def __init__(self, config: Callable[[], GatewayConfig], make: Callable[[], T]) -> None:
        self._config, self._make = config, make
        self._made = (config(), make())

    def __call__(self) -> T:
        """Return the part for the current configuration."""
        config = self._config()
        if self._made[0] is not config:
            self._made = config, self._make()
        return self._made[1]
