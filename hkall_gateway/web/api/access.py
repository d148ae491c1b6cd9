"""Authorizes API operations, which are public or require a patron's or a program's token.

A program's token has a staff role, or the role `client`, which lets the program act for any patron whose card it sends. The
caller's idempotency key ensures that a repeated request makes its change only once.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Final

from flask import Flask, g, request
from pydantic import BaseModel, ConfigDict, Field

from hkall_gateway.circulation import queries
from hkall_gateway.circulation.borrowing import RequestTitle
from hkall_gateway.circulation.command import Command, Facts, InboxKey, Result
from hkall_gateway.circulation.fines import Refund
from hkall_gateway.circulation.registry import staff_role_of
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff.actions import Act
from hkall_gateway.db.api_tokens import CLIENT, USED_EVERY, ApiToken, hash_of
from hkall_gateway.db.web_sessions import PATRON_API, WebSession
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Actor
from hkall_gateway.web.api.models import Record
from hkall_gateway.web.api.problems import Reply, Trouble, refused
from hkall_gateway.web.callers import bearer_token
from hkall_gateway.web.services import execute, services
from hkall_gateway.web.sessions import find_in_force
from hkall_gateway.web.visits import KEPT_S

SECURITY: Final[list[dict[str, list[str]]]] = [{"token": []}]
"""The security requirement in the OpenAPI description of operations that are not public."""
CHALLENGE: Final = 'Bearer realm="hkall"'
PATRON_PREFIX: Final = "hkallp_"
"""Prefix of patrons' tokens. Programs' tokens have another prefix."""


class Audience(StrEnum):
    """Who may call an operation that is not for staff. PATRON requires a patron's own token or a client's token."""

    PUBLIC = "public"
    PATRON = "patron"


# fmt: off
ROLES: Final[Mapping[str, StaffRole | Audience]] = MappingProxyType({
    "description":         Audience.PUBLIC,
    "documentation":       Audience.PUBLIC,
    "titles.search":       Audience.PUBLIC,
    "titles.one":          Audience.PUBLIC,
    "patron_token.make":   Audience.PUBLIC,
    "patron_token.end":    Audience.PATRON,
    "patron.may_request":  Audience.PATRON,
    "patron.place":        Audience.PATRON,
    "patron.record":       Audience.PATRON,
    "patron.cancel":       Audience.PATRON,
    "patron.renew":        Audience.PATRON,
    "patron.renew_all":    Audience.PATRON,
    "lists.counts":        StaffRole.VIEWER,
    "lists.page":          StaffRole.VIEWER,
    "requests.search":     StaffRole.VIEWER,
    "requests.one":        StaffRole.VIEWER,
    "requests.place":      staff_role_of(RequestTitle),
    "requests.act":        staff_role_of(Act),
    "money.refund":        staff_role_of(Refund),
    "statistics.period":   StaffRole.VIEWER,
})
"""Who may call an operation, by endpoint: an audience, or the lowest staff role. The role for a change is that of its
command in the registry. `permitted.ACTIONS` may require more."""
# fmt: on


def install(api: Flask) -> None:
    """Check the authorization of each request before its operation runs."""
    api.before_request(_authorize)


def token() -> ApiToken:
    """Return the program token that came with this request."""
    found: ApiToken = g.token
    return found


def role() -> StaffRole:
    """Return the staff role of this request's token."""
    return StaffRole.of(token().role)


def patron_session() -> WebSession | None:
    """Return the session for the patron token that came with this request, or None if there is no patron token."""
    found: WebSession | None = g.get("patron_session")
    return found


def actor(message: str) -> Actor:
    """Return the journal's actor for this request: `token:NAME` for a program, `patron` for a patron."""
    who = "patron" if patron_session() else f"token:{token().name}"
    return Actor(who=who, channel="api", message=message, corr=g.get("number", ""))


def scope() -> str:
    """Return the namespace for idempotency keys, which differs for each token, so that two tokens may use the same key."""
    patron_token = patron_session()
    return f"api-patron:{patron_token.token_hash[:32]}" if patron_token else f"api:{token().name}"


def card(named: str) -> str:
    """Return the current card of the patron for whom this request is made.

    A patron's token determines the card, and a client has to name the card. Raises Trouble (422) in any other case.
    """
    patron_token = patron_session()
    if patron_token and named:
        raise Trouble(422, "card: this token is of one patron; leave it out")
    if not patron_token and not named:
        raise Trouble(422, "card: a client names the patron's card")
    return patron_token.patron if patron_token else execute(queries.present_card(named))


def _authorize() -> None:
    given = bearer_token(request.headers.get("Authorization", ""))
    g.patron_session = find_in_force(given, PATRON_API) if given.startswith(PATRON_PREFIX) else None
    patron_token: WebSession | None = g.patron_session
    g.token = services().visits.find_program(hash_of(given)) if given and patron_token is None else None
    now = services().now()
    if g.token and not g.token.in_force(now):
        g.token = None
    if g.token and (g.token.used_at is None or now - g.token.used_at >= USED_EVERY):
        services().visits.mark_used(g.token.name)
    if request.url_rule is None:  # no such operation: 404 or 405
        return
    needed = ROLES[request.endpoint or ""]
    if needed is Audience.PUBLIC:
        return
    if g.patron_session is None and g.token is None:
        raise Trouble(401, "a bearer token is needed that is in force", **{"WWW-Authenticate": CHALLENGE})
    acts_for_patrons = patron_token is not None or token().role == CLIENT
    if isinstance(needed, Audience):
        if not acts_for_patrons:
            raise Trouble(403, "this needs a patron's token, or one with the role client")
    elif acts_for_patrons or role() < needed:
        raise Trouble(403, f"this needs a token with the role {needed.word}")


class IdempotencyHeader(BaseModel):
    """The Idempotency-Key header, which every operation that changes data requires. A repeated request gets the same reply.

    A key belongs to one request by one token, and is refused with a different body or URL. A repetition of a refused request
    is evaluated again, and a repetition of a request whose change has been undone makes the change again.
    Source: the IETF draft "The Idempotency-Key HTTP Header Field".
    """

    model_config = ConfigDict(populate_by_name=True)

    key: str = Field(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[A-Za-z0-9._~:/+=\-]+$",
        description="a new one for each request; the same one for a repetition of it",
    )


def inbox_key(header: IdempotencyHeader) -> InboxKey:
    """Return the inbox key for this request. Raises Trouble (422) if the idempotency key was used for another request."""
    agency, digest = scope(), _hex_digest(header.key.encode())
    fingerprint, use = _hex_digest(f"{request.method} {request.full_path}\n".encode() + request.get_data()), f"key:{digest}"
    if services().visits.first_use(agency, use, fingerprint) != fingerprint:
        raise Trouble(422, "this Idempotency-Key was used for another request")
    return InboxKey(agency=agency, digest=digest, keep_s=KEPT_S)


def execute_once(
    command: Command[Facts, Result],
    header: IdempotencyHeader,
    record: type[Record],
    status: int = 200,
    *,
    to_patron: bool = False,
) -> Reply:
    """Execute a command once per idempotency key. Return its result as `record`, or the problem for its refusal."""
    outcome = execute(command, inbox=inbox_key(header))
    return refused(outcome, to_patron=to_patron) if isinstance(outcome, Refused) else (record.json_of(outcome), status)


def _hex_digest(data: bytes) -> str:
    return sha256(data).hexdigest()
