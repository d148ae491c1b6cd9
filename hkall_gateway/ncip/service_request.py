"""A message of an authenticated caller, and functions that read its fields into the types of the commands."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta, tzinfo
from functools import lru_cache
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, Literal, TypeVar
from zoneinfo import ZoneInfo

import structlog

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.circulation.partner_notice import PartnerNotice
from hkall_gateway.circulation.results import Refused
from hkall_gateway.ncip.authentication import NO_HTTP_PROOF, HttpProof
from hkall_gateway.ncip.codec.dialects import DIALECTS, NcipDialect
from hkall_gateway.ncip.codec.elements import SECRET
from hkall_gateway.ncip.codec.messages import STRUCTURE, Coded, NcipMessage, Value, instant, many
from hkall_gateway.ncip.tables.notifications import NameOrder
from hkall_gateway.ncip.tables.problems import UNAUTHORIZED_VALUES, Problem
from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.net.limits.rate_limiter import OF_A_CALLER, Guesses, LineLimit, RateLimiter
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.rules import dates
from hkall_gateway.rules.callers import Client, PartnerAccess
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey

LOG = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PartnerExchange:
    """One document to one partner, and its result.

    `failure` is dns, connect, tls, timeout or http where no reply came, xml for one that cannot be read, problem for a no,
    "" otherwise. `notes` are the tolerances that reading the reply needed.
    """

    partner: str
    service: str
    seconds: float
    failure: str = ""
    notes: tuple[str, ...] = ()


def make_exchange(partner: str, service: str, seconds: float, reply: NcipMessage | None) -> PartnerExchange:
    """Make the exchange that ended with this reply. None is a reply that cannot be read."""
    if reply is None:
        return PartnerExchange(partner, service, seconds, "xml")
    return PartnerExchange(partner, service, seconds, "problem" if reply.has("Problem") else "", reply.notes)


def note(metrics: Metrics, one: PartnerExchange) -> None:
    """Count an exchange in the metrics, and log the tolerances that reading its reply needed."""
    metrics.ncip_latency.labels(one.partner, one.service, "out").observe(one.seconds)
    if one.failure:
        metrics.ncip_errors.labels(one.partner, one.failure).inc()
    if one.notes:
        LOG.info("ncip.reply_tolerated", partner=one.partner, service=one.service, notes=list(one.notes))


Kind = Literal["partner", "client"]

LONG_S: Final = 30 * 24 * 3600
SHORT_S: Final = 15 * 60
"""Seconds that a document's outcome is kept for replay: LONG_S if it names its occasion, SHORT_S if it may be a new request."""
AT_ONCE_S: Final[Mapping[str, int]] = MappingProxyType({"RequestItem": 10})
"""Seconds that the outcome of a document without an occasion is kept, by service: only a button pressed twice repeats it."""

CORR: Final = 12
"""So many digits of a document's digest follow it through log and journal."""

OCCASION: Final = (
    *("RequestId", "DateShipped", "DateReceived", "DateSent", "MandatedAction", "ItemReportedReturned"),
    "FiscalTransactionInformation/FiscalTransactionReferenceId",
)
DECLINED: Final = ("Ext/Problem/ProblemType", "Ext/ProblemType", "ItemOptionalFields/CirculationStatus")
DECLINED_IN_WORDS: Final = ("Ext/Problem/ProblemDetail", "Ext/ProblemDetail", "Ext/ItemNote")
"""Where a lender says why it declines: ItemRequestCancelled has no element for it. Alma notes it in Ext/ItemNote."""
Day = TypeVar("Day", date, datetime)
A_YEAR: Final = timedelta(days=366)
MANDATED: Final = "MandatedAction/DateEventOccurred"
MOMENTS: Final = ("DateShipped", "DateReceived", MANDATED)
VOLUME: Final = (
    "ItemOptionalFields/ItemDescription/HoldingsInformation/UnstructuredHoldingsData",
    "ItemOptionalFields/ItemDescription/HoldingsInformation/StructuredHoldingsData"
    "/HoldingsEnumeration/EnumerationLevelInstance/EnumerationValue",
)


@dataclass(frozen=True, slots=True)
class Peer:
    """The origin of a document. Its secret is inside the document, or in `authorization`.

    `fingerprint` (SHA-256, in hex without colons) and `subject` (its common name) are those of the certificate that it
    showed and that an authority of ours has signed. "" for none. `authorization` is the header of its HTTP request.
    `traceparent` its trace, "" if it sent none or an invalid one.
    """

    address: str
    fingerprint: str = ""
    subject: str = ""
    authorization: str = field(default="", repr=False)
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Caller:
    """A partner or client that may call us, with its secrets.

    It proves its identity by its `secret` ("" never matches), by `http`, the proofs for the Authorization header of an HTTP
    request, or as its `access` says. `partner` is None for a client. `wrong_pins`: after so many within a quarter of an hour,
    its further PINs are refused without being checked.
    """

    access: PartnerAccess | Client
    secret: str = field(repr=False)
    partner: Partner | None = None
    wrong_pins: int = OF_A_CALLER
    http: HttpProof = NO_HTTP_PROOF

    @property
    def agency(self) -> str:
        """The AgencyId."""
        return self.access.agency

    @property
    def kind(self) -> Kind:
        """Whether it is a partner or a client."""
        return "client" if isinstance(self.access, Client) else "partner"

    @property
    def pin(self) -> str:
        """How the caller's PINs are checked, as `Client.pin` says."""
        return self.access.pin if isinstance(self.access, Client) else "checked"


LINES_A_MINUTE: Final = 30
"""Log lines per minute about unauthenticated documents, for each agency that they name."""
Verify = Callable[[str, str, str], Awaitable[bool]]
"""(subject, stored hash, secret) -> whether the secret matches the hash. Slow unless the result is cached."""


async def reject_secret(_whose: str, _stored: str, _secret: str) -> bool:
    """Return False. The default `Verify` of a `NcipServices` without hashed secrets."""
    return False


@dataclass(frozen=True, slots=True)
class NcipServices:
    """The services and settings of the NCIP responder.

    `callers` are by agency. `now` is aware, in UTC. Without a `timeout` an
    answer has no time limit. `other_names` are AgencyIds by which
    peers may address us beside `agency`. `proofs` and `guesses` count recent wrong proofs and wrong PINs. `unproven` limits
    the log lines about unauthenticated callers. `verify` compares a secret with its hash. `places` are the names of our
    pickup locations by their codes, in order. `public_keys` is the JSON Web Key Set of our signing keys; b"" without any.
    """

    circulation: Circulation
    callers: Mapping[str, Caller]
    agency: str
    timezone: tzinfo
    metrics: Metrics
    now: Callable[[], datetime]
    rate: RateLimiter = field(default_factory=RateLimiter)
    timeout: Timeout | None = None
    other_names: tuple[str, ...] = ()
    proofs: Guesses = field(default_factory=Guesses)
    guesses: Guesses = field(default_factory=Guesses)
    unproven: LineLimit = field(default_factory=lambda: LineLimit(LINES_A_MINUTE))
    verify: Verify = reject_secret
    places: Mapping[str, str] = field(default_factory=dict)
    name_order: NameOrder = ""
    public_keys: bytes = b""

    def admits(self, address: str) -> bool:
        """Whether any caller may connect from this address."""
        return any(is_admitted(row.access.allow_from, address) for row in self.callers.values())

    def dialect(self, agency: str) -> NcipDialect:
        """Return how this agency writes NCIP, and which flow it follows."""
        caller = self.callers.get(self.known(agency))
        return DIALECTS[caller.partner.dialect if caller and caller.partner else "direct"]

    def known(self, agency: str) -> str:
        """Return an agency's code as configured, matched without regard to case. An unknown code is returned unchanged."""
        if agency in self.callers or agency == self.agency:
            return agency
        folded = agency.casefold()
        return next((name for name in (self.agency, *self.callers) if name.casefold() == folded), agency)


@dataclass(frozen=True, slots=True)
class ServiceRequest:
    """A message, its authenticated sender, and the digest by which a repetition is recognised.

    A look-up is never replayed, and has a time stamp instead of a digest. `judged`: a person replays it from the quarantine.
    """

    services: NcipServices
    caller: Caller
    message: NcipMessage
    digest: str
    judged: bool = False

    @property
    def by(self) -> Actor:
        """The actor of the commands of this message."""
        return Actor(self.caller.agency, "ncip", self.message.service, self.digest[:CORR])

    @property
    def from_client(self) -> bool:
        """Whether a client sent it, and not a partner."""
        return isinstance(self.caller.access, Client)

    @property
    def inbox(self) -> InboxKey:
        """The key under which its result is kept for a repetition."""
        occasion = any(self.message.has(name) for name in OCCASION)
        keep_s = LONG_S if occasion else AT_ONCE_S.get(self.message.service, SHORT_S)
        return InboxKey(self.caller.agency, self.digest, keep_s)


@lru_cache(maxsize=4096)
def is_admitted(networks: tuple[str, ...], address: str) -> bool:
    """Whether an address is in one of the networks."""
    return AllowList(networks).admits(address)


def digest_message(message: NcipMessage) -> str:
    """Return a hash that is equal for documents with equal content, however they are written.

    Secrets are left out, so that none can be guessed from the hash.
    """
    text = _IN_ORDER.encode([message.service, _without_secrets(message.fields)])
    return blake2b(text.encode(), digest_size=16).hexdigest()


_IN_ORDER: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=True)


def spell_agencies(services: NcipServices, message: NcipMessage) -> NcipMessage:
    """Return the message with every agency as we write it, since peers differ in case."""
    return replace(message, fields={name: _spell_agencies(services, name, value) for name, value in message.fields.items()})


def _spell_agencies(services: NcipServices, name: str, value: Value) -> Value:
    if isinstance(value, str):
        known = services.known(value) if name == "AgencyId" else value
        return value if known == value else Coded(known, getattr(value, "scheme", None))
    if isinstance(value, STRUCTURE):
        return {
            inner: part if type(part) is str and inner != "AgencyId" else _spell_agencies(services, inner, part)
            for inner, part in value.items()
        }
    return value if isinstance(value, bool) else [_spell_agencies(services, name, one) for one in value]


def _without_secrets(value: Value) -> object:
    if isinstance(value, str | bool):
        return value
    if isinstance(value, STRUCTURE):
        return {
            name: inner if isinstance(inner, str) else _without_secrets(inner)
            for name, inner in value.items()
            if name not in SECRET
        }
    return [_without_secrets(one) for one in many(value)]


def make_refusal(why: Reason) -> Refused:
    """Make the refusal with a reason and its rule."""
    return Refused(why, why.rule)


def read_request_id(call: ServiceRequest) -> tuple[str, str]:
    """Return agency and value of the RequestId. One without an agency is the caller's own."""
    value = call.message.text("RequestId/RequestIdentifierValue")
    return (call.message.text("RequestId/AgencyId") or call.caller.agency) if value else "", value


def check_request_id(call: ServiceRequest) -> Problem | None:
    """Return the Problem for a new request with a RequestId under another agency's AgencyId.

    None if the AgencyId is the caller's own.

    A caller numbers its requests under its own AgencyId or one of `request_agencies`. A broker may also pass on numbers of
    agencies that are not configured here, but not ours nor those of another caller.
    """
    agency, _value = read_request_id(call)
    named, services = call.caller, call.services
    broker = not call.from_client and services.dialect(named.agency).flow != DIRECT
    own = agency in ("", named.agency, *named.access.request_agencies)
    if own or (broker and agency not in (services.agency, *services.callers)):
        return None
    return Problem(UNAUTHORIZED_VALUES, f"{named.agency} numbers its requests under its own AgencyId", "RequestId", agency)


DIRECT: Final = "direct"


def read_item(call: ServiceRequest, default_agency: str) -> ItemKey | None:
    """Return the first item named. One without an agency is of `default_agency`."""
    barcode = call.message.text("ItemId/ItemIdentifierValue")
    return ItemKey(call.message.text("ItemId/AgencyId") or default_agency, barcode) if barcode else None


def read_bib_id(call: ServiceRequest) -> str:
    """Return the record number of the title."""
    record = call.message.text("BibliographicId/BibliographicRecordId/BibliographicRecordIdentifier")
    return record or call.message.text("BibliographicId/BibliographicItemId/BibliographicItemIdentifier")


def read_pickup_location(call: ServiceRequest, path: str = "PickupLocation") -> str:
    """Return the code of a pickup location. "" where none is named.

    LookupAgency numbers ours from 1, since a LocationNameLevel is a number and VuFind 10 sends it back as the PickupLocation.
    """
    text, codes = call.message.text(path), call.services.circulation.library.pickup_locations
    number = whole_number(text) or 0
    return codes[number - 1] if text not in codes and 1 <= number <= len(codes) else text


def read_volume(call: ServiceRequest) -> str:
    """Return the desired volume. "" for a title in one volume."""
    return find_first_text(call.message, VOLUME)


Notice = TypeVar("Notice", bound=PartnerNotice)


def make_notice(kind: type[Notice], call: ServiceRequest, due: str = "") -> Notice:
    """Make the partner's notice in a message. `due` is the path of its due date.

    A RequestId without an agency stays so, since it may be of either side, and the item decides. An item without an agency
    is the lender's: ours where the request is the partner's own, else the partner's. A due date in the past, and an
    event in the future or more than a year ago, are read as if they were missing.
    """
    agency, value = call.message.text("RequestId/AgencyId"), call.message.text("RequestId/RequestIdentifierValue")
    owner = call.services.agency if agency == call.caller.agency else call.caller.agency
    return kind(
        by=call.by,
        partner=call.caller.agency,
        wire_agency=agency,
        wire_id=value,
        item=read_item(call, owner),
        at=read_event_time(call, MOMENTS),
        reason=find_first_text(call.message, DECLINED),
        detail=find_first_text(call.message, DECLINED_IN_WORDS),
        due=read_due_date(call, (due,)) if due else None,
        judged=call.judged,
    )


def read_event_time(call: ServiceRequest, paths: tuple[str, ...]) -> datetime | None:
    """Return the instant of an event within the last year, or at most a day ahead by a fast clock. None without one."""
    when, now = instant(find_first_text(call.message, paths), _zone_of(call.caller)), call.services.now()
    return None if when is None or _is_impossible(call, when, now - A_YEAR, now + dates.DAY) else when


def read_due_date(call: ServiceRequest, paths: tuple[str, ...]) -> date | None:
    """Return the due date at the first of these paths that has one. None without one, or for a past one."""
    until = read_day(find_first_text(call.message, paths), call.caller)
    return None if until is None or _is_impossible(call, until, dates.civil(call.services.now()), until) else until


def _is_impossible(call: ServiceRequest, named: Day, first: Day, last: Day) -> bool:
    """Return whether a date lies outside these limits, after logging it."""
    if first <= named <= last:
        return False
    LOG.warning("ncip.date_not_believed", peer=call.caller.agency, service=call.message.service, date=named.isoformat())
    return True


def find_first_text(message: NcipMessage, paths: tuple[str, ...]) -> str:
    """Return the first text at one of these paths."""
    return next((text for path in paths if (text := message.text(path))), "")


def read_day(text: str, caller: Caller) -> date | None:
    """Return the civil day in Hong Kong of a peer's date. None if the text is not a date."""
    if caller.partner is not None and caller.partner.date_semantics == "date_only":
        when = instant(text[:10], dates.HONG_KONG)
    else:
        when = instant(text, _zone_of(caller))
    return dates.civil(when) if when else None


def _zone_of(caller: Caller) -> tzinfo:
    """Return the zone of the caller's dates without an offset."""
    return ZoneInfo(caller.access.timezone) if isinstance(caller.access, PartnerAccess) else dates.HONG_KONG
