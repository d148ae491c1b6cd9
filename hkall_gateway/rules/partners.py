"""The libraries of the consortium, as stored in the directory and configured in [[partners]].

This is not in the vocabulary module because importing pydantic would slow down commands such as `--help`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from hkall_gateway.rules.values import Agency, Cents, Natural, Text


@dataclass(frozen=True, kw_only=True)
class Charges:
    """The owner's charges for a lost or damaged book. Source: HKALL rules R45. The processing fee is never refunded."""

    processing_cents: Annotated[Cents, Field(description="added to the price of a replacement")] = 0
    replacement_cents: Annotated[Cents, Field(description="the price where the book's own is not known")] = 0
    damage_cents: Annotated[Cents, Field(description="for a damaged book")] = 0
    refund_if_found_days: Annotated[Cents, Field(description="a lost book found within so many days is paid back")] = 0
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code")] = "HKD"


Meaning = Literal["fault", "later", "refused", "already"]
"""The meaning of a partner's problem.

fault: The channel is misconfigured, and a person must fix it.
later: The problem is temporary.
refused: The refusal is final.
already: The partner has already done what we ask.
"""

Weekday = Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
RenewalMode = Literal["local_then_notify", "ask_first"]


@dataclass(frozen=True, kw_only=True)
class PartnerKeys:
    """What a row of [[partners]] says of a library that the directory keeps.

    `problems` lists (text, meaning) pairs for the partner's own ProblemTypes, or for texts in ProblemDetail or ProblemValue.
    They take precedence over the meanings of standard problems.
    """

    agency: Agency
    name: Annotated[Text, Field(description="its name, for people")]
    url: str = ""
    dialect: str = "direct"
    priority: Annotated[int, Field(ge=0, le=99, description="order of lenders, lowest first")] = 50
    institutional_card: Annotated[str, Field(description="the card to which its loans are charged at our counter")] = ""
    user_sent: Annotated[Literal["institution", "patron"], Field(description="the borrower named to the lender")] = (
        "institution"
    )
    renewal_mode: Annotated[
        RenewalMode,
        Field(
            description="whether it is told of a renewal or asked for it; also for the patron's date where its own is earlier"
        ),
    ] = "local_then_notify"
    can_lookup_request: Annotated[bool, Field(description="it answers LookupRequest")] = False
    can_lookup_items: Annotated[
        bool,
        Field(description="it answers LookupItemSet: before a request, and for who opens a title of the catalogue"),
    ] = False
    lookup_by_copy: Annotated[
        bool,
        Field(description="with `can_lookup_items`: it answers LookupItem instead, as every partner with NCIP 1 does"),
    ] = False
    in_flight: Annotated[Natural, Field(description="documents sent to it at the same time")] = 4
    work_days: Annotated[tuple[Weekday, ...], Field(min_length=1, description="days on which it works")] = (
        "Mon",
        "Tue",
        "Wed",
        "Thu",
        "Fri",
    )
    silence_days: Annotated[
        Natural, Field(description="working days without an answer after which the next lender is asked")
    ] = 2
    date_semantics: Annotated[Literal["instant", "date_only"], Field(description="what its 00:00:00Z means")] = "instant"
    courier_days: Annotated[int, Field(ge=0, description="days of transport for a book")] = 2
    timeout_s: Annotated[Natural, Field(description="time limit of one document")] = 20
    charges: Charges = Charges()
    application_profile: Annotated[
        str,
        Field(description="ApplicationProfileType of messages to it; for Alma the code of its partner record of us"),
    ] = ""
    item_id_type: Annotated[Text, Field(description="ItemIdentifierType of a barcode in messages to it")] = "Barcode"
    request_type: Annotated[str, Field(description="RequestType with which it is asked for a copy; empty = its flow's own")] = (
        ""
    )
    request_scope_type: Annotated[
        str, Field(description="RequestScopeType with which it is asked for a copy; empty = by what is named")
    ] = ""
    problems: tuple[tuple[str, Meaning], ...] = ()
    from_system_id: Annotated[str, Field(description="FromSystemId in messages to it; OpenRS knows us by it")] = ""
    our_user: Annotated[
        str,
        Field(description="our institutional user there, on whose card we borrow; empty = our agency and `-INST`: `HKU-INST`"),
    ] = ""


@dataclass(frozen=True, kw_only=True)
class Partner(PartnerKeys):
    """A library of the consortium, as stored in the directory.

    `protocol` names a row of the table of protocols. `terms` are the keys that only this protocol has, as JSON. The keys of
    NCIP are fields.
    """

    protocol: str = "ncip"
    terms: str = ""
