"""Flags for staff, as words in a request's `flags`: each once, listed by the command `flagged` until it is settled."""

from __future__ import annotations

from hkall_gateway.rules.vocabulary import Request


def flagged(request: Request, *flags: str) -> str:
    """The flags of a request with these; "" is none."""
    return " ".join(dict.fromkeys([*request.flags.split(), *filter(None, flags)]))


def unflagged(request: Request, *flags: str) -> str:
    """The flags of a request without these."""
    return " ".join(one for one in request.flags.split() if one not in flags)
