"""The log context: fields about the source of a log line, such as channel, terminal and correlation id.

One context variable holds all fields. structlog's own context has one context variable per field, and setting and resetting
those takes as long as writing the line.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from contextvars import ContextVar, Token
from hashlib import blake2b
from types import MappingProxyType
from typing import Final

VERSION: Final = 1
"""Version of the log format. Increase it when an event or a field is renamed, removed or changes its meaning."""

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


class log_context:  # noqa: N801  # named like a function, because it is used as a context manager
    """Adds fields to all log lines in a `with` block, including lines from units of work."""

    __slots__ = ("_named", "_token")

    def __init__(self, **named: str) -> None:
        self._named = named
        self._token: Token[Mapping[str, str]] | None = None

    def __enter__(self) -> None:
        around = _ABOUT.get()
        self._token = _ABOUT.set({**around, **self._named} if around else self._named)

    def __exit__(self, raised: type[BaseException] | None, *_: object) -> None:
        # A discarded coroutine is closed in another context, where the token is invalid and no reset is needed.
        if self._token is not None and raised is not GeneratorExit:
            _ABOUT.reset(self._token)


def logged_context() -> Mapping[str, str]:
    """Return the fields of the current log context, by name."""
    return _ABOUT.get()


# The `traceparent` header of W3C Trace Context: validated in received documents, created for documents that we send.
# Source: W3C Trace Context, Recommendation of 2021-11-23, 3.2.


HEADER: Final = "traceparent"
LENGTH: Final = 55
"""Length of a version 00 header, and of the parseable start of a later version's header."""
_SHAPE: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def valid_traceparent(text: str) -> str:
    """Return the version 00 part of a valid `traceparent` header, or "" if the header is invalid.

    Version ff, capital letters and all-zero ids are invalid. Later versions may append fields after another hyphen.
    """
    found = _SHAPE.fullmatch(text[:LENGTH])
    if found is None or found[1] == "ff" or not found[2].strip("0") or not found[3].strip("0"):
        return ""
    rest = text[LENGTH:]
    return found[0] if not rest or (found[1] != "00" and rest.startswith("-")) else ""


def trace_id(corr: str) -> str:
    """Derive a trace-id of 32 hex digits from the correlation id `corr`, or return a random trace-id if `corr` is "".

    All deliveries in one conversation thus have the same trace-id, even from several gateways and after a restart.
    """
    return blake2b(corr.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if corr else secrets.token_hex(16)


def own_traceparent() -> str:
    """Return a `traceparent` header for one document, with the log context's trace-id, a new parent-id and the sampled flag."""
    context = logged_context()
    trace = context.get("trace_id") or trace_id(context.get("corr_id", ""))
    return f"00-{trace}-{secrets.token_hex(8)}-01"
