"""Who may use an operation: a bearer token of `hkall-gateway token`, whose role is enough for the operation's row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from flask import Flask, g, request

from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.store import api_tokens
from hkall_gateway.store.api_tokens import USED_EVERY, ApiToken
from hkall_gateway.web.api.problems import Trouble
from hkall_gateway.web.roles import StaffRole
from hkall_gateway.web.services import services

SECURITY: Final[list[dict[str, list[str]]]] = [{"token": []}]
"""What every operation's description asks for."""
CHALLENGE: Final = 'Bearer realm="hkall"'
_BEARER: Final = re.compile(r"bearer +([\w.~+/-]+=*)", re.IGNORECASE | re.ASCII)

# fmt: off
ROLES: Final[Mapping[str, StaffRole | None]] = MappingProxyType({
    "description":         None,
    "lists.counts":        StaffRole.VIEWER,
    "lists.page":          StaffRole.VIEWER,
    "requests.search":     StaffRole.VIEWER,
    "requests.one":        StaffRole.VIEWER,
    "requests.place":      StaffRole.CLERK,
    "requests.act":        StaffRole.CLERK,
    "statistics.period":   StaffRole.VIEWER,
})
"""The least role of each operation, by its endpoint; None = everybody. A command may need a higher one: `permitted.ACTIONS`."""
# fmt: on


def install(api: Flask) -> None:
    """Let nobody use an operation without the role of its row."""
    api.before_request(_admit)


def token() -> ApiToken:
    """Return the token of this request."""
    found: ApiToken = g.token
    return found


def role() -> StaffRole:
    """Return the role of this request's token."""
    return StaffRole.of(token().role)


def actor(message: str) -> Actor:
    """Return the program, for the journal."""
    return Actor(f"token:{token().name}", "api", message, g.get("number", ""))


def _admit() -> None:
    if request.url_rule is None:  # 404 or 405
        return
    needed = ROLES[request.endpoint or ""]
    if needed is None:
        return
    g.token = _found()
    if role() < needed:
        raise Trouble(403, f"this needs a token with the role {needed.word}")


def _found() -> ApiToken:
    given = _BEARER.fullmatch(request.headers.get("Authorization", "").strip())
    now, bridge = services().now(), services().bridge
    found = bridge.read(api_tokens.find, api_tokens.hash_of(given[1])) if given else None
    if found is None or not found.in_force(now):
        raise Trouble(401, "a bearer token is needed that is in force", **{"WWW-Authenticate": CHALLENGE})
    if found.used_at is None or now - found.used_at >= USED_EVERY:
        bridge.run(api_tokens.used, found.name, now)
    return found
