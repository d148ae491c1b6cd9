"""The `traceparent` header of W3C Trace Context: validated from peers, written for documents that we post.

Source: W3C Trace Context, Recommendation of 2021-11-23, 3.2.
"""

from __future__ import annotations

import re
import secrets
from hashlib import blake2b
from typing import Final

from hkall_gateway.observability.log_context import logged_context

HEADER: Final = "traceparent"
LENGTH: Final = 55
"""Characters of version 00, and of the known part of later versions."""
_SHAPE: Final = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


def valid_traceparent(text: str) -> str:
    """Returns the known part of a valid `traceparent`, or "".

    Version ff, capitals, and ids of zeros only are invalid. A later version than 00 may have more behind another hyphen.
    """
    found = _SHAPE.fullmatch(text[:LENGTH])
    if found is None or found[1] == "ff" or not found[2].strip("0") or not found[3].strip("0"):
        return ""
    rest = text[LENGTH:]
    return found[0] if not rest or (found[1] != "00" and rest.startswith("-")) else ""


def trace_id(corr: str) -> str:
    """Returns the trace-id of a conversation, 32 hex digits: the same for the same `corr`, a random one for "".

    All deliveries of one conversation are one trace at the partner, also from several gateways and after a restart.
    """
    return blake2b(corr.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if corr else secrets.token_hex(16)


def own_traceparent() -> str:
    """Returns the header for one document: the trace-id of the log context, a new parent-id, and the flag "sampled"."""
    context = logged_context()
    trace = context.get("trace_id") or trace_id(context.get("corr_id", ""))
    return f"00-{trace}-{secrets.token_hex(8)}-01"
