"""A message from an authenticated caller, and functions that convert message fields to the argument types of commands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from hashlib import blake2b
from types import MappingProxyType
from typing import Final, TypeVar
from zoneinfo import ZoneInfo

import structlog

from hkall_gateway.circulation.circulation import Circulation
from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.circulation.partner_notice import PartnerNotice
from hkall_gateway.circulation.results import Refused
from hkall_gateway.ncip.codec.dialects import DIALECTS, NcipDialect
from hkall_gateway.ncip.codec.elements import SECRET
from hkall_gateway.ncip.codec.messages import NcipMessage, instant
from hkall_gateway.ncip.tables.notifications import NameOrder
from hkall_gateway.ncip.tables.problems import UNAUTHORIZED_VALUES, Problem
from hkall_gateway.net.limits.rate_limiter import Guesses, LineLimit, RateLimiter
from hkall_gateway.net.limits.timeout import Timeout
from hkall_gateway.observability.metrics import Metrics
from hkall_gateway.peers.callers import Caller, Verify, is_admitted, reject_secret, spell_agency
from hkall_gateway.peers.incoming import CORR
from hkall_gateway.rules import dates
from hkall_gateway.rules.callers import Client, PartnerAccess
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, ItemKey
from hkall_gateway.xml.tree import STRUCTURE, Coded, Value, many

LOG = structlog.get_logger()

LONG_S: Final = 30 * 24 * 3600
SHORT_S: Final = 15 * 60
"""Seconds for which a reply is stored for repetitions: LONG_S if an element in OCCASION identifies the event, else SHORT_S."""
AT_ONCE_S: Final[Mapping[str, int]] = MappingProxyType({"RequestItem": 10})
"""Service -> seconds to use instead of SHORT_S, enough to catch a double click."""

OCCASION: Final = (
    *("RequestId", "DateShipped", "DateReceived", "DateSent", "MandatedAction", "ItemReportedReturned"),
    "FiscalTransactionInformation/FiscalTransactionReferenceId",
)
DECLINED: Final = ("Ext/Problem/ProblemType", "Ext/ProblemType", "ItemOptionalFields/CirculationStatus")
DECLINED_IN_WORDS: Final = ("Ext/Problem/ProblemDetail", "Ext/ProblemDetail", "Ext/ItemNote")
"""Paths of a lender's explanation for declining, for which ItemRequestCancelled has no element. Alma uses Ext/ItemNote."""
Day = TypeVar("Day", date, datetime)
A_YEAR: Final = timedelta(days=366)
MANDATED: Final = "MandatedAction/DateEventOccurred"
MOMENTS: Final = ("DateShipped", "DateReceived", MANDATED)
VOLUME: Final = (
    "ItemOptionalFields/ItemDescription/HoldingsInformation/UnstructuredHoldingsData",
    "ItemOptionalFields/ItemDescription/HoldingsInformation/StructuredHoldingsData"
    "/HoldingsEnumeration/EnumerationLevelInstance/EnumerationValue",
)


LINES_A_MINUTE: Final = 30
"""Maximum number of log lines per minute about unauthenticated documents, for each claimed agency."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NcipServices:
    """The services and settings of the NCIP responder.

    Attributes:
        callers: Callers by AgencyId.
        now: Returns the current time, aware, in UTC.
        timeout: Time limit for a reply, or None for no limit.
        other_names: Additional AgencyIds by which peers may address us.
        proofs: Counts recent failed authentications.
        guesses: Counts recent wrong PINs.
        unproven: Limits log lines about unauthenticated callers.
        places: Pickup location code -> name, in display order.
        public_keys: JSON Web Key Set of our signing keys, or b"".
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
    protocol: str = "ncip"

    def admits(self, address: str) -> bool:
        """Check whether any caller may connect from an IP address."""
        return any(is_admitted(row.access.allow_from, address) for row in self.callers.values())

    def dialect(self, agency: str) -> NcipDialect:
        """Return the dialect configured for an agency, or the dialect "direct" if the agency is unknown."""
        caller = self.callers.get(self.known(agency))
        return DIALECTS[caller.partner.dialect if caller and caller.partner else "direct"]

    def known(self, agency: str) -> str:
        """Return the configured spelling of an AgencyId, ignoring case. Return an unknown AgencyId unchanged."""
        return spell_agency(self, agency)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRequest:
    """A message and the authenticated sender.

    Attributes:
        digest: Hash that identifies a repeated message, or a timestamp for look-ups, which always get a new reply.
        judged: Whether staff have replayed the message from the quarantine.
    """

    services: NcipServices
    caller: Caller
    message: NcipMessage
    digest: str
    judged: bool = False

    @property
    def by(self) -> Actor:
        """Actor for the commands made from this message."""
        return Actor(who=self.caller.agency, channel="ncip", message=self.message.service, corr=self.digest[:CORR])

    @property
    def from_client(self) -> bool:
        """Whether the sender is a client rather than a partner."""
        return isinstance(self.caller.access, Client)

    @property
    def inbox(self) -> InboxKey:
        """Inbox key under which the reply is stored for repetitions."""
        occasion = any(self.message.has(name) for name in OCCASION)
        keep_s = LONG_S if occasion else AT_ONCE_S.get(self.message.service, SHORT_S)
        return InboxKey(agency=self.caller.agency, digest=self.digest, keep_s=keep_s)


def digest_message(message: NcipMessage) -> str:
    """Return a hash of a message's content, independent of the XML notation. Exclude secrets, to protect them."""
    text = _IN_ORDER.encode([message.service, _without_secrets(message.fields)])
    return blake2b(text.encode(), digest_size=16).hexdigest()


_IN_ORDER: Final = json.JSONEncoder(sort_keys=True, ensure_ascii=True, check_circular=False)


def spell_agencies(services: NcipServices, message: NcipMessage) -> NcipMessage:
    """Replace all AgencyIds in a message with their configured spelling, since peers differ in case."""
    return message.with_fields({name: _spell_agencies(services, name, value) for name, value in message.fields.items()})


def _spell_agencies(services: NcipServices, name: str, value: Value) -> Value:
    if isinstance(value, str):
        known = services.known(value) if name == "AgencyId" else value
        return value if known == value else Coded(known, getattr(value, "scheme", None))
    if isinstance(value, STRUCTURE):
        return {
            inner: part if isinstance(part, str) and inner != "AgencyId" else _spell_agencies(services, inner, part)
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
    """Make a refusal with a reason, and the published rule behind the reason."""
    return Refused(why=why, rule=why.rule)


def read_request_id(call: ServiceRequest) -> tuple[str, str]:
    """Return agency and value of the RequestId, both "" if missing. The caller's AgencyId replaces a missing agency."""
    value = call.message.text("RequestId/RequestIdentifierValue")
    return (call.message.text("RequestId/AgencyId") or call.caller.agency) if value else "", value


def check_request_id(call: ServiceRequest) -> Problem | None:
    """Check the agency in a new request's RequestId. Return a Problem if the caller may not use that agency.

    Callers may use their own AgencyId and their `request_agencies`. A broker may also use AgencyIds that are not in our
    configuration, but neither our AgencyId nor another caller's.
    """
    agency, _value = read_request_id(call)
    named, services = call.caller, call.services
    broker = not call.from_client and services.dialect(named.agency).flow != DIRECT
    own = agency in ("", named.agency, *named.access.request_agencies)
    if own or (broker and agency not in (services.agency, *services.callers)):
        return None
    return Problem(
        problem=UNAUTHORIZED_VALUES,
        detail=f"{named.agency} numbers its requests under its own AgencyId",
        element="RequestId",
        value=agency,
    )


DIRECT: Final = "direct"


def read_item(call: ServiceRequest, default_agency: str) -> ItemKey | None:
    """Return the first item in the message. `default_agency` replaces a missing AgencyId."""
    barcode = call.message.text("ItemId/ItemIdentifierValue")
    return ItemKey(call.message.text("ItemId/AgencyId") or default_agency, barcode) if barcode else None


def read_bib_id(call: ServiceRequest) -> str:
    """Return the title's record number."""
    record = call.message.text("BibliographicId/BibliographicRecordId/BibliographicRecordIdentifier")
    return record or call.message.text("BibliographicId/BibliographicItemId/BibliographicItemIdentifier")


def read_pickup_location(call: ServiceRequest, path: str = "PickupLocation") -> str:
    """Return the pickup location's code, or "" if missing.

    Accept the number in our LookupAgency reply too, since VuFind 10 sends the LocationNameLevel as PickupLocation.
    """
    text, codes = call.message.text(path), call.services.circulation.library.pickup_locations
    number = whole_number(text) or 0
    return codes[number - 1] if text not in codes and 1 <= number <= len(codes) else text


def read_volume(call: ServiceRequest) -> str:
    """Return the requested volume, or "" if missing."""
    return find_first_text(call.message, VOLUME)


Notice = TypeVar("Notice", bound=PartnerNotice)


def make_notice(kind: type[Notice], call: ServiceRequest, due: str = "") -> Notice:
    """Make the partner notice from a message. `due` is the path of the due date.

    Do not add an agency to a RequestId without an agency, since either library may have assigned the number. The request is
    then found by the item. An item without an agency belongs to the lender, which is us if the partner placed the request, else
    the partner. Ignore due dates in the past, and event times in the future or more than a year ago.
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
    """Return an event's time, or None if missing, more than a year ago, or more than a day in the future."""
    when, now = instant(find_first_text(call.message, paths), _zone_of(call.caller)), call.services.now()
    return None if when is None or _is_impossible(call, when, now - A_YEAR, now + dates.DAY) else when


def read_due_date(call: ServiceRequest, paths: tuple[str, ...]) -> date | None:
    """Return the due date from the first path that has a value, or None if missing or in the past."""
    until = read_day(find_first_text(call.message, paths), call.caller)
    return None if until is None or _is_impossible(call, until, dates.civil(call.services.now()), until) else until


def _is_impossible(call: ServiceRequest, named: Day, first: Day, last: Day) -> bool:
    """Check whether a date is outside the limits. Log such a date."""
    if first <= named <= last:
        return False
    LOG.warning("ncip.date_not_believed", peer=call.caller.agency, service=call.message.service, date=named.isoformat())
    return True


def find_first_text(message: NcipMessage, paths: tuple[str, ...]) -> str:
    """Return the text at the first path that has a value, or "" if no path has a value."""
    return next((text for path in paths if (text := message.text(path))), "")


def read_day(text: str, caller: Caller) -> date | None:
    """Convert a peer's date to the civil day in Hong Kong. Return None if the text is not a date."""
    if caller.partner is not None and caller.partner.date_semantics == "date_only":
        when = instant(text[:10], dates.HONG_KONG)
    else:
        when = instant(text, _zone_of(caller))
    return dates.civil(when) if when else None


def _zone_of(caller: Caller) -> tzinfo:
    """Return the time zone for dates without an offset in a caller's messages."""
    return ZoneInfo(caller.access.timezone) if isinstance(caller.access, PartnerAccess) else dates.HONG_KONG
