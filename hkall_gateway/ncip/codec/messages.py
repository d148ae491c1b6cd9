"""The `NcipMessage` type, and the table of NCIP services.

Source: NISO Z39.83-1-2012. The `needs` of a service are fewer than the schema's required elements, on purpose: peers leave out
RequestType, headers and shipping addresses every day, and a document that can be acted upon is acted upon.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from types import MappingProxyType
from typing import Literal, TypeAlias

from hkall_gateway.ncip.codec.elements import ELEMENTS
from hkall_gateway.rules.dates import parse_instant

Value: TypeAlias = "str | bool | Mapping[str, Value] | Sequence[Value]"
Fields: TypeAlias = Mapping[str, Value]

DOT = "•"

STRUCTURE = (dict, Mapping)
"""Types of a structure, for isinstance: dict comes first, since nearly all are one and the check of Mapping is slow."""
_SEVERAL = (list, tuple)


class Coded(str):
    """A value of a SchemeValuePair and the scheme it was taken from; compares as its text, since peers mix up schemes."""

    __slots__ = ("scheme",)
    scheme: str | None

    def __new__(cls, text: str, scheme: str | None = None) -> Coded:
        """Make the text, with its scheme as an attribute."""
        coded = super().__new__(cls, text)
        coded.scheme = scheme
        return coded


@dataclass(frozen=True, slots=True)
class Header:
    """The sender and the addressee of a document. "" if unreadable."""

    from_agency: str = ""
    to_agency: str = ""


NOBODY = Header()


class BadDocument(Exception):
    """A document that is answered with a Problem: its standard type, words for a person, and the address for the reply.

    `service` is None when no service could be made out: the Problem then stands directly under NCIPMessage. `version` is
    that of the document as far as it could be read: give it to the reply.
    """

    def __init__(self, problem: str, detail: str, service: str | None = None, header: Header = NOBODY) -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem, self.detail, self.service, self.header = problem, detail, service, header
        self.version = ""


@dataclass(frozen=True, slots=True, repr=False)
class NcipMessage:
    """One NCIP message.

    `service` is the element under NCIPMessage, "Problem" when Problems stand there themselves (`fields` then holds them as
    "Problem"). `fields`: name -> text, Coded, True (empty element), a mapping, or a list where the element may repeat.
    Elements of other vocabularies inside an Ext are kept as XML text, in a list under "Ext", and written back unchanged.
    `version` and `namespaced` as received (NCIP 1: a `dialects.Dtd`). `extension`: it stood inside NCIPMessage/Ext, and so
    must its reply. Messages are equal when service and fields are, however they were written.
    """

    service: str
    fields: Fields
    version: str = field(default="", compare=False)
    namespaced: bool = field(default=True, compare=False)
    extension: bool = field(default=False, compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def text(self, path: str) -> str:
        """Return the first text at a path such as "UserId/UserIdentifierValue". "" when there is none."""
        value: Value | None = self.fields
        for name in path.split("/"):
            if not isinstance(value, dict):
                return next(iter(self.texts(path)), "")
            if (value := value.get(name)) is None:
                return ""
        return value if isinstance(value, str) else next(iter(self.texts(path)), "")

    def texts(self, path: str) -> tuple[str, ...]:
        """Return all texts at a path, through every repetition on the way, in document order."""
        return tuple(value for value in _find_values(self.fields, path) if isinstance(value, str))

    def has(self, path: str) -> bool:
        """Whether there is a value at a path. An empty flag or structure counts."""
        return any(value not in ("", False) for value in _find_values(self.fields, path))

    def each(self, path: str) -> tuple[NcipMessage, ...]:
        """Return the structures at a path ("LoanedItem"), each with the methods of a message."""
        manner = self.version, self.namespaced, self.extension, self.notes
        return tuple(
            NcipMessage(self.service, part, *manner) for part in _find_values(self.fields, path) if isinstance(part, STRUCTURE)
        )

    def __repr__(self) -> str:
        return f"Message({self.service!r}, {redacted(self)!r})"


@dataclass(frozen=True, slots=True)
class ServiceShape:
    """One service.

    `kind` is L (lookup), U (asks for an action; the reply carries a result) or N (reports a completed action; an empty reply
    is success). Each of `needs` is a set of alternatives, one of which must be there.
    """

    service: str
    kind: Literal["L", "U", "N"]
    reply: str
    needs: tuple[tuple[str, ...], ...]

    def missing(self, fields: Mapping[str, object]) -> tuple[str, ...]:
        """Return the missing needs, each as its alternatives in words ("ItemId or RequestId")."""
        return tuple(" or ".join(names) for names in self.needs if not any(fields.get(name) for name in names))


_USER = "UserId|AuthenticationInput"
_COPY = "ItemId|RequestId"

# kind, needs, services; | between alternatives. The reply is the name of the service with Response behind it.
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
        service: ServiceShape(service, kind, f"{service}Response", tuple(tuple(need.split("|")) for need in needs.split()))
        for kind, needs, services in ROWS
        for service in services.split()
    }
)


def redacted(message: NcipMessage) -> Fields:
    """Return the fields with a dot for everything secret or personal, for logs and the quarantine."""
    return {name: _mask_value(name, value) for name, value in message.fields.items()}


def instant(text: str, zone: tzinfo) -> datetime | None:
    """Parse a peer's date to a moment in UTC. None if it is not a date.

    Taken: xs:dateTime with or without offset (then `zone` is meant), +0200, fractions, and a bare date, which is that day's
    first moment in `zone`.
    """
    try:
        return parse_instant(text.strip().upper(), zone)
    except ValueError:
        return None


def stamp(when: datetime, zone: tzinfo) -> str:
    """Write a moment as xs:dateTime with its offset in `zone`. VuFind takes a renewal without an offset for refused."""
    if when.tzinfo is None:
        raise ValueError(f"{when} names no zone")
    return when.astimezone(zone).isoformat(timespec="seconds")


def many(value: Value) -> Sequence[Value]:
    """Return a value as a sequence: itself when it repeats, else alone."""
    return value if isinstance(value, _SEVERAL) else (value,)


def _find_values(fields: Fields, path: str) -> Sequence[Value]:
    found: Sequence[Value] = (fields,)
    for name in path.split("/"):
        inside = [one[name] for one in found if isinstance(one, STRUCTURE) and name in one]
        found = many(inside[0]) if len(inside) == 1 else [value for values in inside for value in many(values)]
    return found


def _mask_value(name: str, value: Value) -> Value:
    if name not in ELEMENTS or ELEMENTS[name].hidden or (name == "Ext" and isinstance(value, str)):
        return DOT
    if isinstance(value, _SEVERAL):
        return [_mask_value(name, one) for one in value]
    return {inner: _mask_value(inner, one) for inner, one in value.items()} if isinstance(value, Mapping) else value
