"""What every log line says of where it comes from: the channel, the terminal, the number of what belongs together.

structlog has context variables of its own, one for each name: set, copied and undone they take as long as the line itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar, Token
from types import MappingProxyType

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


class about:  # noqa: N801  # it is used as a word: with about(channel="sip2"):
    """`with about(channel="sip2", corr_id="…"):` – lines that are logged inside say so too, also from units of work."""

    __slots__ = ("_named", "_token")

    def __init__(self, **named: str) -> None:
        self._named = named
        self._token: Token[Mapping[str, str]] | None = None

    def __enter__(self) -> None:
        around = _ABOUT.get()
        self._token = _ABOUT.set({**around, **self._named} if around else self._named)

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        # A coroutine that is thrown away is closed wherever that happens; the context it ran in goes with it.
        if self._token is not None and raised is not GeneratorExit:
            _ABOUT.reset(self._token)


def told() -> Mapping[str, str]:
    """What is said of this place, by name."""
    return _ABOUT.get()
