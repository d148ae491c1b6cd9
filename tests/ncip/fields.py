"""Identifiers in documents, and the problem in a reply."""

from __future__ import annotations

from hkall_gateway.ncip.codec.messages import NcipMessage


def number(agency: str, value: str) -> dict[str, str]:
    """Return a RequestId."""
    return {"AgencyId": agency, "RequestIdentifierValue": value}


def copy(agency: str, barcode: str) -> dict[str, str]:
    """Return an ItemId without a type."""
    return {"AgencyId": agency, "ItemIdentifierValue": barcode}


def typed_copy(agency: str, barcode: str) -> dict[str, str]:
    """Return an ItemId with its type."""
    return {"AgencyId": agency, "ItemIdentifierType": "Barcode", "ItemIdentifierValue": barcode}


def problem(reply: NcipMessage) -> str:
    """Return the type of the problem in a reply; "" if there is none."""
    return reply.text("Problem/ProblemType")
