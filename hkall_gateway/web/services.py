"""The settings for web pages, and the services that pages use: circulation, the bridge, the library and the clock."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TypeVar, cast, overload

from flask import current_app

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import Answer, Asked, Command, Facts, InboxKey, Library, Query, Result, in_context
from hkall_gateway.circulation.idempotency import Overtaken
from hkall_gateway.circulation.ports import LiveStatuses
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff.explaining import ExplainQuestion, Explanation
from hkall_gateway.db.quarantine import QuarantinedDocument
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Holding, Sensitive
from hkall_gateway.web.bridge import Bridge
from hkall_gateway.web.incoming import key_of_form
from hkall_gateway.web.visits import Visits

EXTENSION: Final = "hkall"
API_DOCUMENTATION: Final = "hkall-api"
"""Key of the function that returns what the API's documentation shows, in the `extensions` of the pages."""


T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class StaffAccount:
    """A local account for the staff console."""

    login: str
    name: str
    secret_hash: str = field(repr=False)
    role: StaffRole = StaffRole.VIEWER


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """The site's identity provider. `roles` maps role claim values to staff roles. `card_claim` is "" for staff logins only."""

    issuer: str
    client_id: str
    secret: Sensitive
    role_claim: str
    roles: Mapping[str, StaffRole]
    card_claim: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeLibrary:
    """A partner library that a patron may choose as home library. `discovery_url` is the library's search page, or ""."""

    agency: str
    name: str
    discovery_url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """The settings for web pages, mainly from the [web] table of the configuration.

    Attributes:
        names: The library's name in each language.
        partner_names_zh: Chinese names of partners, by agency.
        places: Names of the pickup locations, by language and location code.
        hold_slip: What a hold slip shows of its patron: "initials", "name" or "card".
        pages_per_minute: Limit for one patron, or for all strangers in one network; 0 for no limit.
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
    hold_slip: str = "initials"
    pages_per_minute: int = 240


@dataclass(frozen=True, slots=True)
class ErasedMarks:
    """The file outside the database that marks erased persons, and the key for the marks. `file` is None if not configured."""

    file: Path | None
    key: bytes = field(default=b"", repr=False)


Replay = Callable[[QuarantinedDocument], Coroutine[Any, object, str | Refused]]
"""Function that processes a quarantined document again, as NCIP would. Returns the problem in words, or "" on success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebServices:
    """The services that a page may use.

    Attributes:
        library: Returns the library from the current configuration.
        settings: Returns the web settings from the current configuration.
        seconds: Monotonic clock.
        erased: Returns the file that marks erased persons.
        document: Serializes a message as it would be sent to a partner, without secrets. The last argument is our agency.
        live_status: Returns the known live statuses of a title's copies, and starts to query libraries for the missing ones.
    """

    circulation: Circulation
    bridge: Bridge
    visits: Visits
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
    """Return the services of the current application."""
    return cast(WebServices, current_app.extensions[EXTENSION])


@overload
def execute(command: Asked[Answer]) -> Answer: ...


@overload
def execute(command: Query[Facts, Result]) -> Result | Refused: ...


@overload
def execute(command: Command[Facts, Result], *, inbox: InboxKey | None = None) -> Result | Refused: ...


@overload
def execute(command: Command[Facts, Result], *, since: int) -> Result | Refused | Overtaken: ...


def execute(
    command: Command[Facts, Result] | Query[Facts, Result], *, inbox: InboxKey | None = None, since: int | None = None
) -> Result | Refused | Overtaken:
    """Return the result of a command or query, or TRY_AGAIN if it did not start in time and was dropped.

    A command of a form that was sent before gets the first result. A question is answered in a snapshot, on a database
    connection of the page's thread.

    Raises:
        GatewayTimeout: The command has started but did not finish in time. It ends the page.
        Unavailable: The database is down, and a question cannot be answered.
    """
    web = services()
    if isinstance(command, Asked):
        return cast("Result", web.bridge.read(in_context(command.answer, web.library(), web.now())))
    if isinstance(command, Query):
        return web.bridge.run(web.circulation.execute(command))
    key = inbox or key_of_form(command)
    if since is not None:
        return web.bridge.run(web.circulation.execute(command, inbox=key, since=since))
    return web.bridge.run(web.circulation.execute(command, inbox=key))


def run(procedure: Coroutine[Any, object, T]) -> T | Refused:
    """Run a procedure of several commands, or a question to the local system, in the reactor's thread.

    Returns:
        The result, or TRY_AGAIN if the procedure did not start in time.
    """
    return services().bridge.run(procedure)


def explain(question: ExplainQuestion, at: datetime | None = None) -> Explanation:
    """Decide a question as its command would, now or as of the time `at`, and change nothing."""
    web = services()
    return web.circulation.explain(question, at, wait=run, trial=web.bridge.trial)
