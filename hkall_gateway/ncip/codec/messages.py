"""The `NcipMessage` type, and the table of NCIP services.

Source: NISO Z39.83-1-2012. `ServiceShape.needs` lists fewer elements than the schema requires, because peers often omit
RequestType, headers and shipping addresses, without which a message can still be processed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Literal

from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.rules.dates import parse_instant
from hkall_gateway.xml.tree import SEVERAL, Fields, Tree, Value

DOT = "•"
HIDDEN_ELEMENT = "<hidden/>"
"""Stands for another vendor's XML in an Ext, whose text would not be XML with a dot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The sender and the addressee of a document, each "" if unreadable."""

    from_agency: str = ""
    to_agency: str = ""


NOBODY = Header()


class BadDocument(Exception):
    """A document that cannot be read, and the data for the Problem to reply with.

    Attributes:
        problem: ProblemType from the standard.
        detail: Explanation for people.
        service: Service of the document, or None if unknown, so that the Problem is written directly under NCIPMessage.
        header: Sender and addressee of the document, to address the reply.
        version: Version of the document for the reply, or "" if unreadable.
    """

    def __init__(self, problem: str, detail: str, service: str | None = None, header: Header = NOBODY) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem, self.detail, self.service, self.header = problem, detail, service, header
        self.version = ""


@dataclass(frozen=True, slots=True, repr=False, kw_only=True)
class NcipMessage(Tree):
    """One NCIP message. Messages are equal if their service and fields are equal.

    Attributes:
        service: Element under NCIPMessage, or "Problem" if NCIPMessage contains only Problems, which `fields` lists.
        fields: Element name -> text, Coded, True (empty element), mapping, or a list for elements that may repeat. Foreign
            elements in an Ext are kept as XML text, in a list under "Ext", and written unchanged.
        version: Version as received; a `dialects.Dtd` for NCIP 1.
        namespaced: Whether the document used the NISO namespace.
        extension: Whether the service was inside NCIPMessage/Ext, where the reply must then be too.
        notes: Tolerances used while decoding the document.
    """

    service: str
    fields: Fields
    version: str = field(default="", compare=False)
    namespaced: bool = field(default=True, compare=False)
    extension: bool = field(default=False, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def with_fields(self, fields: Fields) -> NcipMessage:
        """Return a message with other fields. `dataclasses.replace` would take three times as long."""
        return NcipMessage(
            service=self.service,
            fields=fields,
            version=self.version,
            namespaced=self.namespaced,
            extension=self.extension,
            notes=self.notes,
        )

    def __repr__(self) -> str:
        return f"Message({self.service!r}, {redacted(self)!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceShape:
    """The shape of one service.

    Attributes:
        kind: L (look-up), U (request for an action, answered with a result), or N (notification of a completed action, to
            which an empty reply means success).
        reply: Name of the response element.
        needs: Required elements, each as a tuple of alternatives of which at least one must be present.
    """

    service: str
    kind: Literal["L", "U", "N"]
    reply: str
    needs: tuple[tuple[str, ...], ...]

    def missing(self, fields: Mapping[str, object]) -> tuple[str, ...]:
        """Return the missing required elements. Join alternatives in words ("ItemId or RequestId")."""
        return tuple(" or ".join(names) for names in self.needs if not any(fields.get(name) for name in names))


_USER = "UserId|AuthenticationInput"
_COPY = "ItemId|RequestId"

# (kind, required elements with | between alternatives, services). The reply's name is the service's name plus "Response".
ROWS: tuple[tuple[Literal["L", "U", "N"], str, str], ...] = (
    ("L", "AgencyId", "LookupAgency"),
    ("L", _COPY, "LookupItem LookupRequest"),
    ("L", "BibliographicId|HoldingsSetId|ItemId", "LookupItemSet"),
    ("L", _USER, "LookupUser"),
    ("U", "RequestId", "AcceptItem"),
    ("U", "ItemId", "CancelRecallItem CheckInItem DeleteItem"),
    ("U", "ItemId", "RecallItem ReportCirculationStatusChange UndoCheckOutItem UpdateItem"),
    ("U", f"{_USER} {_COPY}", "CancelRequestItem"),
    ("U", f"{_USER} ItemId", "CheckOutItem RenewItem"),
    ("U", "OrganizationNameInformation", "CreateAgency"),
    ("U", "BibliographicDescription", "CreateItem"),
    ("U", "NameInformation", "CreateUser"),
    ("U", f"{_USER} FiscalTransactionInformation", "CreateUserFiscalTransaction"),
    ("U", _USER, "DeleteUser UpdateUser"),
    ("U", f"{_USER} ItemId|BibliographicId", "RequestItem"),
    ("U", "UserId UserNoticeDetails", "SendUserNotice"),
    ("U", "AgencyId", "UpdateAgency"),
    ("U", "ItemId CirculationStatus", "UpdateCirculationStatus"),
    ("U", _COPY, "UpdateRequestItem"),
    ("N", "AgencyId", "AgencyCreated AgencyUpdated"),
    ("N", "ItemId", "CirculationStatusChangeReported ItemCheckedIn ItemCreated"),
    ("N", "ItemId", "ItemRecallCancelled ItemRecalled ItemRenewed ItemUpdated"),
    ("N", "ItemId CirculationStatus", "CirculationStatusUpdated"),
    ("N", _COPY, "ItemCheckedOut ItemReceived ItemRequestCancelled ItemRequestUpdated ItemShipped"),
    ("N", "UserId ItemId|BibliographicId", "ItemRequested"),
    ("N", "UserId", "UserCreated UserNoticeSent UserUpdated"),
    ("N", "UserId FiscalTransactionInformation", "UserFiscalTransactionCreated"),
)

SHAPES: Mapping[str, ServiceShape] = MappingProxyType(
    {
        service: ServiceShape(
            service=service,
            kind=kind,
            reply=f"{service}Response",
            needs=tuple(tuple(need.split("|")) for need in needs.split()),
        )
        for kind, needs, services in ROWS
        for service in services.split()
    }
)


def redacted(message: NcipMessage) -> Fields:
    """Return a message's fields, with secrets and personal data replaced by a dot, for logs and the quarantine."""
    return {name: _mask_value(name, value) for name, value in message.fields.items()}


def instant(text: str, zone: tzinfo) -> datetime | None:
    """Parse a peer's date or time. Return a datetime in UTC, or None if the text is not a date.

    Accepts xs:dateTime, also with an offset like +0200 and with fractions of a second. A time without an offset is in `zone`.
    A date without a time is the start of the day in `zone`.
    """
    try:
        return parse_instant(text.strip().upper(), zone)
    except ValueError:
        return None


def stamp(when: datetime, zone: tzinfo) -> str:
    """Format a time as xs:dateTime with the offset of `zone`. VuFind considers a renewal without an offset refused."""
    if when.tzinfo is None:
        raise ValueError(f"{when} names no zone")
    return when.astimezone(zone).isoformat(timespec="seconds")


def _mask_value(name: str, value: Value) -> Value:
    if name == "Ext" and isinstance(value, str):
        return HIDDEN_ELEMENT
    if name not in ELEMENTS or ELEMENTS[name].hidden:
        return DOT
    if isinstance(value, SEVERAL):
        return [_mask_value(name, one) for one in value]
    return {inner: _mask_value(inner, one) for inner, one in value.items()} if isinstance(value, Mapping) else value
