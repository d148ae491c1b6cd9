"""Fields that every log line has about its source: channel, terminal, and the number that links related lines.

structlog has a context variable for each name. Setting, copying and resetting them takes as long as writing the line.
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
"""Version of the log's contract. It rises when an event or a field is renamed, removed or gets another meaning."""

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))


class log_context:  # noqa: N801  # it is used as a word: with log_context(channel="sip2"):
    """`with log_context(channel="sip2", corr_id="…"):` – log lines inside have these fields, also in units of work."""

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
    """Return the fields of the current log context, by name."""
    return _ABOUT.get()


# ---- The `traceparent` header of W3C Trace Context: validated from peers, written for documents that we post.
# Source: W3C Trace Context, Recommendation of 2021-11-23, 3.2.


HEADER: Final = "traceparent"
LENGTH: Final = 55
"""Characters of version 00, and of the known part of later versions."""
_SHAPE: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def valid_traceparent(text: str) -> str:
    """Return the known part of a valid `traceparent`, or "".

    Version ff, capitals, and ids of zeros only are invalid. A later version than 00 may have more behind another hyphen.
    """
    found = _SHAPE.fullmatch(text[:LENGTH])
    if found is None or found[1] == "ff" or not found[2].strip("0") or not found[3].strip("0"):
        return ""
    rest = text[LENGTH:]
    return found[0] if not rest or (found[1] != "00" and rest.startswith("-")) else ""


def trace_id(corr: str) -> str:
    """Return the trace-id of a conversation, 32 hex digits: the same for the same `corr`, a random one for "".

    All deliveries of one conversation are one trace at the partner, also from several gateways and after a restart.
    """
    return blake2b(corr.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if corr else secrets.token_hex(16)


def own_traceparent() -> str:
    """Return the header for one document: the trace-id of the log context, a new parent-id, the flag "sampled"."""
    context = logged_context()
    trace = context.get("trace_id") or trace_id(context.get("corr_id", ""))
    return f"00-{trace}-{secrets.token_hex(8)}-01"
