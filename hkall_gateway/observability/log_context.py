"""Fields that every log line carries about its source: channel, terminal, and the number that links related lines.

structlog has context variables of its own, one for each name. Setting, copying and resetting them takes as long as writing the
line.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


class log_context:  # noqa: N801  # it is used as a word: with log_context(channel="sip2"):
    """`with log_context(channel="sip2", corr_id="…"):` – log lines written inside have these fields, also in units of work."""

    __slots__ = ("_named", "_token")

    def __init__(self, **named: str) -> None:
        self._named = named
        self._token: Token[Mapping[str, str]] | None = None

    def __enter__(self) -> None:
        around = _ABOUT.get()
        self._token = _ABOUT.set({**around, **self._named} if around else self._named)

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        # A discarded coroutine is closed in another context, where the token is invalid; its own context is gone with it.
        if self._token is not None and raised is not GeneratorExit:
            _ABOUT.reset(self._token)


def logged_context() -> Mapping[str, str]:
    """Returns the fields of the current log context, by name."""
    return _ABOUT.get()
