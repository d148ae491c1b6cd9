"""Logging of commands: warnings and errors on standard error, as free of secrets as the log of `serve`.

Most commands log nothing and never import structlog, whose import takes twice as long as `--help`. So structlog is configured
only when another module imports it, and the log is opened at the first event.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from structlog.typing import EventDict, WrappedLogger

LEVEL: Final = "warning"
"""Lowest level that is logged, since the person at the command line needs the result rather than the progress."""


def prepare() -> None:
    """Send this process's log events to standard error, unless the command configures structlog itself, as `serve` does."""
    if "structlog" in sys.modules:
        _configure_structlog()
    elif _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


class _Finder:
    """Import finder that configures structlog when it is imported. Other modules are left to Python's finders."""

    def find_spec(self, name: str, path: Sequence[str] | None, _target: ModuleType | None = None, /) -> ModuleSpec | None:
        spec = PathFinder.find_spec(name, path) if name == "structlog" else None
        if spec and spec.loader:
            spec.loader.__dict__["exec_module"] = partial(_execute_and_configure, spec.loader.exec_module)
        return spec


_FINDER: Final = _Finder()


def _execute_and_configure(execute: Callable[[ModuleType], None], module: ModuleType) -> None:
    execute(module)
    _configure_structlog()


def _configure_structlog() -> None:
    import structlog

    if not structlog.is_configured():
        structlog.configure([_open_log], structlog.make_filtering_bound_logger(LEVEL))


def _open_log(_logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Open the log at the first event, and log the event (a structlog processor).

    The key for `patron_ref` is random, since the configuration with the gateway's key may not have been read yet.
    """
    from secrets import token_bytes

    import structlog

    from hkall_gateway.app import logs
    from hkall_gateway.clock import now
    from hkall_gateway.observability.log_console import renderer_for

    stream = sys.stderr.buffer
    logs.configure(stream, now, LEVEL, token_bytes(32), draw=renderer_for(stream, None, os.environ))
    getattr(structlog.get_logger(), method)(**event)
    raise structlog.DropEvent
