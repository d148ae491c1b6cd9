"""Adapter for a local system with NCIP, which uses LookupUser for borrowers and PINs, and LookupItem for loaded items."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TooLate
from twisted.internet.interfaces import IReactorTime

from hkall_gateway.circulation.ports import BorrowerFacts, LocalLoan, Unreachable, Verb
from hkall_gateway.ils.live import LiveFacts, copies_at_home, over_loaded
from hkall_gateway.ils.settings import NcipSettings
from hkall_gateway.ils.tools import ConnectorTools
from hkall_gateway.ncip.codec.messages import NcipMessage, instant
from hkall_gateway.ncip.tables.notifications import item_id, user_id
from hkall_gateway.ncip.transport.client import NcipClient
from hkall_gateway.rules.dates import HONG_KONG, civil
from hkall_gateway.rules.partners import Partner
from hkall_gateway.rules.plain_text import whole_number
from hkall_gateway.rules.vendor_words.availability import ON_SHELF, circulation_status
from hkall_gateway.rules.vocabulary import Holding, ItemKey, Sensitive
from hkall_gateway.xml.tree import Fields

NO_SUCH_ITEM: Final = ("unknown item",)
"""The Problems that mean that an item does not exist. Any other Problem in an item look-up counts as a failure."""

STOPS: Final = frozenset({"block check out", "block checkout", "block request item", "trap for lost card"})
"""Blocks that prevent borrowing. Other blocks (of renewals, holds, messages) are ignored. Source: NCIP, BlockOrTrapType."""
LAPSED: Final = frozenset({"blocked", "expired", "inactive", "suspended"})
"""Statuses of a privilege that is not in force. Words for "in force" differ between FOLIO, mod-rs and XC."""
NO_CATEGORY: Final = frozenset({"status", "library"})
"""Privilege types that do not name a patron's category in FOLIO's convention (key as type, value as status)."""
UNKNOWN_CARD: Final = "0"
"""A card number that no user has, for trials of the responder."""
ELEMENTS: Final = ("Block Or Trap", "Name Information", "User Address Information", "User Id", "User Privilege")
"""The user elements to request. FOLIO (mod-ncip) omits the UserId unless it is requested."""


class Ncip:
    """Connector to one NCIP responder, whose peculiarities are configured in [ils]."""

    def __init__(self, tools: ConnectorTools) -> None:
        self._outside, self._store, self._agency = tools.abroad(), tools.store, tools.agency
        self._settings = settings = tools.settings_of(NcipSettings)
        self._there = responder(settings, tools.agency)
        looks = {Verb.COPIES} if settings.looks_up_items else set()
        tells = {Verb.LOANS} if settings.tells_loans else set()
        self.supports = frozenset({Verb.BORROWER, Verb.VERIFY_PIN, *looks, *tells})
        self._made_client = self._make_client()

    def _make_client(self) -> tuple[str, NcipClient]:
        """Return the password and a client that uses it."""
        password = self._outside.password.reveal()
        return password, NcipClient(self._outside.post, self._agency, {self._there.agency: password})

    @property
    def _client(self) -> NcipClient:
        """The client with the present password, since a reload may have changed it."""
        if self._made_client[0] != self._outside.password.reveal():
            self._made_client = self._make_client()
        return self._made_client[1]

    async def borrower(self, card: str) -> BorrowerFacts:
        """Look up a borrower. The result's `borrower` is None for an unknown user."""
        now = self._outside.now()
        wanted: Fields = {"UserElementType": list(ELEMENTS), "LoanedItemsDesired": True}
        fields = {"UserId": user_id(self._there.agency, card), **wanted}
        reply = await self._ask_responder("LookupUser", fields, self._settings.unknown_user)
        if reply is None:
            return BorrowerFacts(borrower=None, source="ncip", as_of=now)
        follows = self._settings.answered_card == "follow"
        live = borrower_facts(reply, now, tells_loans=self._settings.tells_loans)
        return await over_loaded(self._store, card, live if follows else replace(live, card=""), "ncip", now)

    async def verify_pin(self, card: str, pin: Sensitive) -> bool:
        """Return whether the responder accepts the card and PIN."""
        ways, code = self._settings, _make_input(self._settings.pin_input_type, pin.reveal())
        who: Fields = {"UserId": user_id(self._there.agency, card), "AuthenticationInput": [code]}
        if not ways.pin_with_user_id:
            who = {"AuthenticationInput": [_make_input(ways.card_input_type, card), code]}
        no = (*ways.unknown_user, *ways.wrong_pin)
        reply = await self._ask_responder("LookupUser", {**who, "UserElementType": ["User Id"]}, no)
        return reply is not None and reply.has("UserId")

    async def loans(self, card: str) -> tuple[LocalLoan, ...]:
        """Return the borrower's loans from a LookupUserResponse."""
        fields: Fields = {"UserId": user_id(self._there.agency, card), "LoanedItemsDesired": True}
        reply = await self._ask_responder("LookupUser", fields, self._settings.unknown_user)
        return tuple(_make_loan(one) for one in reply.each("LoanedItem")) if reply else ()

    async def copies(self, bib_id: str) -> tuple[Holding, ...] | None:
        """Return our items with their current statuses, stopping at the first available item."""
        seen: list[Holding] = []
        for copy in await copies_at_home(self._store, bib_id, self._agency):
            key = ItemKey(self._there.agency, copy.barcode)
            fields: Fields = {"ItemId": item_id(key), "ItemElementType": ["Circulation Status"]}
            reply = await self._ask_responder("LookupItem", fields, NO_SUCH_ITEM)
            if reply is not None:
                seen.append(replace(copy, status=reply.text("ItemOptionalFields/CirculationStatus") or copy.status))
            if seen and circulation_status(seen[-1].status) == ON_SHELF:
                break
        return tuple(seen)

    async def _ask_responder(self, service: str, fields: Fields, no: Collection[str]) -> NcipMessage | None:
        """Return the reply, or None for a Problem in `no` (see `_is_among`). Raise Unreachable in all other cases."""
        ask = partial(self._send, service, fields, no)
        return await self._outside.ask(service, ask, self._there.timeout_s, self._try_again)

    async def _try_again(self) -> None:
        """Look up UNKNOWN_CARD as a trial for the circuit breaker. Never raise an exception."""
        fields: Fields = {"UserId": user_id(self._there.agency, UNKNOWN_CARD)}
        ask = partial(self._send, "LookupUser", fields, self._settings.unknown_user)
        with suppress(Unreachable):
            await self._outside.record("LookupUser", ask, self._there.timeout_s, self._try_again)

    async def _send(self, service: str, fields: Fields, no: Collection[str], allowed_s: float) -> NcipMessage | None:
        asking = Deferred.fromCoroutine(self._client.ask(service, fields, self._there))
        if self._outside.clock is not None:
            _ = asking.addTimeout(allowed_s, cast(IReactorTime, self._outside.clock))
        try:
            reply = await asking
        except TooLate:
            reply = None
        if reply is None:
            raise Unreachable("no reply")
        if other := sorted(one.text("ProblemType") for one in reply.each("Problem") if not _is_among(one, no)):
            raise Unreachable(", ".join(other))
        return None if reply.has("Problem") else reply


def responder(settings: NcipSettings, agency: str) -> Partner:
    """Describe the responder as a Partner. `agency` is our AgencyId, which the responder has by default, too."""
    return Partner(
        agency=settings.agency or agency,
        name="",
        url=settings.url or "",
        dialect=settings.ncip_dialect,
        timeout_s=max(1, round(settings.timeout_s)),
    )


def _is_among(problem: NcipMessage, no: Collection[str]) -> bool:
    """Return whether an entry in `no` is the Problem's type, or occurs in the Problem's detail or value."""
    kind, *details = (problem.text(name).casefold() for name in ("ProblemType", "ProblemDetail", "ProblemValue"))
    return any(words.casefold() == kind or any(words.casefold() in text for text in details) for words in no)


def borrower_facts(reply: NcipMessage, now: datetime, *, tells_loans: bool = True) -> LiveFacts:
    """Read the data about a borrower from a LookupUserResponse.

    If the reply lists no loans, the number of loans is 0 if the system supports such lists (`tells_loans`), else unknown.
    """
    person = reply.each("UserOptionalFields")
    numbers = map(whole_number, reply.texts("LoanedItemsCount/LoanedItemCountValue"))
    counted = [number for number in numbers if number is not None]
    until = [instant(text, HONG_KONG) for one in person for text in one.texts("UserPrivilege/ValidToDate")]
    return LiveFacts(
        blocked=any(_is_blocked(one, now) for one in person),
        local_loans=sum(counted) if counted else len(reply.each("LoanedItem")) or (0 if tells_loans else None),
        name=Sensitive(next((_find_name(one) for one in person), "")),
        email=Sensitive(next((_find_email(one) for one in person), "")),
        category=next((found for one in person for found in _find_categories(one)), ""),
        expires=max((civil(when) for when in until if when), default=None),
        card=_find_card(reply),
        former=tuple(text for one in person for text in one.texts("PreviousUserId/UserIdentifierValue") if text),
    )


def _make_loan(item: NcipMessage) -> LocalLoan:
    due = instant(item.text("DateDue"), HONG_KONG) if item.text("DateDue") else None
    title = item.text("Title") or item.text("BibliographicDescription/Title")
    return LocalLoan(barcode=item.text("ItemId/ItemIdentifierValue"), title=title, due=civil(due) if due else None)


def _find_card(reply: NcipMessage) -> str:
    """Return the barcode in the reply's UserId, or "" if the UserId has another type."""
    users = [one for one in reply.each("UserId") if "barcode" in (one.text("UserIdentifierType") or "barcode").casefold()]
    return next((one.text("UserIdentifierValue") for one in users), "")


def _is_blocked(person: NcipMessage, now: datetime) -> bool:
    stopped = False
    for one in person.each("BlockOrTrap"):
        until = instant(one.text("ValidToDate"), HONG_KONG) if one.text("ValidToDate") else None
        stopped |= one.text("BlockOrTrapType").casefold() in STOPS and not (until and until < now)
    statuses = {text.casefold() for text in person.texts("UserPrivilege/UserPrivilegeStatus/UserPrivilegeStatusType")}
    return bool(stopped or statuses & LAPSED)


def _find_categories(person: NcipMessage) -> list[str]:
    """Return the patron's categories: the values of PROFILE (FOLIO's convention), or else the privilege types."""
    rows = [
        (one.text("AgencyUserPrivilegeType"), one.text("UserPrivilegeStatus/UserPrivilegeStatusType"))
        for one in person.each("UserPrivilege")
    ]
    keyed = [value for key, value in rows if key.casefold() == "profile" and value]
    return keyed or [key for key, _ in rows if key and key.casefold() not in NO_CATEGORY | {"profile"}]


def _find_name(person: NcipMessage) -> str:
    one = "NameInformation/PersonalNameInformation"
    parts = [person.text(f"{one}/StructuredPersonalUserName/{part}") for part in ("GivenName", "Surname")]
    return person.text(f"{one}/UnstructuredPersonalUserName") or " ".join(filter(None, parts))


def _find_email(person: NcipMessage) -> str:
    found = (
        one.text("ElectronicAddress/ElectronicAddressData")
        for one in person.each("UserAddressInformation")
        if "mail" in one.text("ElectronicAddress/ElectronicAddressType").casefold()
    )
    return next((text for text in found if "@" in text), "")


def _make_input(kind: str, text: str) -> Fields:
    return {"AuthenticationInputData": text, "AuthenticationDataFormatType": "text", "AuthenticationInputType": kind}
