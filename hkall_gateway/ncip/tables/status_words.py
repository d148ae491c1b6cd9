"""The words for the status of a request: NISO's list, and the labels of the patron's record that this consortium shows."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from hkall_gateway.ncip.codec.messages import Coded, Fields
from hkall_gateway.rules.vocabulary import Position

P = Position
IN_PROCESS: Final = "In Process"
LABELS_SCHEME: Final = "urn:x-hkall:requeststatustype"
"""The Scheme of the record's own words: HKALL REQUESTD, TRANSFERRED, HKALL RECVD."""

# fmt: off
STATUS: Final[Mapping[Position, str]] = MappingProxyType({
    P.RECEIVED:  "Available For Pickup",
    P.UNFILLED:  "Cannot Fulfill Request",
    P.DECLINED:  "Cannot Fulfill Request",
    P.CANCELLED: "Expired",
    P.WITHDRAWN: "Expired",
})
"""A request's RequestStatusType by its position; IN_PROCESS everywhere else. Source: NCIP v1 schemes, requeststatustype."""
# fmt: on
UNCOLLECTED: Final = "Expired"


def status_of(position: Position, *, uncollected: bool = False) -> str:
    """NISO's word for a position. `uncollected`: the book is on the hold shelf, and its last day there is over (R14)."""
    return UNCOLLECTED if uncollected else STATUS.get(position, IN_PROCESS)


def request_status(position: Position, label: str, *, as_label: bool, uncollected: bool = False) -> Fields:
    """RequestStatusType with NISO's word, and the record's `label` beside it, as Ext/RequestStatusType.

    `as_label`: the caller wants the label in RequestStatusType itself. An Ext takes declared elements only (xs:any is
    strict), so the label has the name of the element that it belongs to. Source: HKALL rules R35.
    """
    if not label:
        return {"RequestStatusType": status_of(position, uncollected=uncollected)}
    word = Coded(label, LABELS_SCHEME)
    if as_label:
        return {"RequestStatusType": word}
    return {"RequestStatusType": status_of(position, uncollected=uncollected), "Ext": {"RequestStatusType": word}}
