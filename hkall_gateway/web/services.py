"""The services of the pages: circulation, the bridge to it, the library, the clock and the settings."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast

from flask import current_app

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Command, Context, Facts, InboxKey, Library, Result, in_context
from hkall_gateway.circulation.ports import LiveStatuses
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.quarantine import QuarantinedDocument
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Holding, Sensitive
from hkall_gateway.web.bridge import Bridge

EXTENSION: Final = "hkall"

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StaffAccount:
    """One local account of the staff console."""

    login: str
    name: str
    secret_hash: str = field(repr=False)
    role: StaffRole = StaffRole.VIEWER


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """The site's identity provider. `roles` maps the values of `role_claim`; `card_claim` names a patron's card, "" = none."""

    issuer: str
    client_id: str
    secret: Sensitive
    role_claim: str
    roles: Mapping[str, StaffRole]
    card_claim: str = ""


@dataclass(frozen=True, slots=True)
class HomeLibrary:
    """A partner library for the question of the home library. `discovery_url`: its own pages, "" if not known."""

    agency: str
    name: str
    discovery_url: str = ""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The [web] table as the pages use it. `names` are the library's, by language; `places` those of its pickup locations too.

    `partners` are the other libraries, in the order of the configuration; `partner_names_zh` are Chinese names of theirs, by
    agency. `pages_per_minute` are searches and titles for one
    address; 0 = no limit.
    """

    public_url: str
    names: Mapping[str, str]
    languages: tuple[str, ...]
    brand: str
    logo: Path | None = None
    staff: Mapping[str, StaffAccount] = field(default_factory=dict)
    proxies: AllowList = field(default_factory=lambda: AllowList(()))
    oidc: OidcSettings | None = None
    partners: tuple[HomeLibrary, ...] = ()
    partner_names_zh: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pages_per_minute: int = 240


@dataclass(frozen=True, slots=True)
class ErasedMarks:
    """Where the marks of erased persons are kept outside the database, and their key; None = the site names no file."""

    file: Path | None
    key: bytes = field(default=b"", repr=False)


Replay = Callable[[QuarantinedDocument], Coroutine[Any, object, str | Refused]]
"""Hears a document of the quarantine again, as NCIP would; returns the partner's problem in words, "" where there is none."""


@dataclass(frozen=True, slots=True)
class WebServices:
    """The services that a page may use. `settings` and `library` follow a reload; `seconds` is a monotonic clock.

    `erased` returns where the marks of erased persons are.
    `document` writes a message as it would leave for a partner, without its secret; the last argument is our agency.
    `live_status` returns the known statuses of these copies of a title, at once, and begins to ask their libraries for more.
    """

    circulation: Circulation
    bridge: Bridge
    library: Callable[[], Library]
    settings: Callable[[], WebSettings]
    now: Callable[[], datetime]
    seconds: Callable[[], float]
    metrics: Metrics
    replay: Replay
    erased: Callable[[], ErasedMarks]
    document: Callable[[PartnerMessage, Partner, str], str]
    live_status: Callable[[str, Sequence[Holding]], LiveStatuses]


def services() -> WebServices:
    """Return the services of the current page."""
    return cast(WebServices, current_app.extensions[EXTENSION])


def consult(query: Callable[Concatenate[Context, P], T], *args: P.args, **named: P.kwargs) -> T:
    """Return `query(context, *args)`, a query that changes nothing, on a connection of this page.

    Raises Unavailable while the database is away.
    """
    web = services()
    return web.bridge.read(in_context(query, web.library(), web.now(), *args, **named))


def execute(command: Command[Facts, Result], *, inbox: InboxKey | None = None) -> Result | Refused:
    """Return the result of a command, or its refusal; TRY_AGAIN if it did not begin in time, and never will.

    Raises GatewayTimeout, which ends the page, if the command has begun and its outcome is not known in time.
    """
    web = services()
    return web.bridge.run(web.circulation.execute(command, inbox=inbox))
