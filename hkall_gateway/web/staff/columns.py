"""The columns of the work lists: which list shows which, on the page and in its file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from hkall_gateway.circulation.staff.names import sees_names
from hkall_gateway.db.queries.work_lists import ListName, ListRow, SortKey
from hkall_gateway.rules.vocabulary import Side
from hkall_gateway.web.i18n import N_, gettext
from hkall_gateway.web.labels import FLAGS, POSITIONS
from hkall_gateway.web.roles import StaffRole

L = ListName


@dataclass(frozen=True, slots=True)
class ListColumn:
    """One column: its heading, its value for a row, and the sort key that a click on the heading asks for."""

    head: str
    value: Callable[[ListRow], Any]
    sort: SortKey | None = None
    figure: bool = False


def position(row: ListRow) -> str:
    """Return where the request stands, in words."""
    return gettext(POSITIONS[row.request.position])


def flags(row: ListRow) -> str:
    """Return the flags of a request, in words."""
    return "; ".join(map(flag, row.request.flags.split()))


def flag(word: str) -> str:
    """Return a flag in words; a detail behind its colon stays as it is."""
    if word in FLAGS:
        return gettext(FLAGS[word])
    kind, _, detail = word.partition(":")
    return f"{gettext(FLAGS[kind])}: {detail}" if kind in FLAGS else word


def why(row: ListRow) -> str:
    """Return the error or the partner's refusal that keeps a request from moving; "" if it only stands there for too long."""
    return "; ".join(filter(None, (row.set_aside, row.fault)))


def owner(row: ListRow) -> str:
    """Return the library that owns the copy."""
    return row.request.item_agency or (row.request.partner if row.request.side is Side.BORROWING else "")


# fmt: off
COLUMNS: Final[Mapping[str, ListColumn]] = MappingProxyType({
    "title":       ListColumn(N_("Title"),            lambda row: row.request.title,          SortKey.TITLE),
    "call_number": ListColumn(N_("Call number"),      lambda row: row.call_number,            SortKey.CALL_NUMBER),
    "barcode":     ListColumn(N_("Barcode"),          lambda row: row.request.item_barcode),
    "partner":     ListColumn(N_("Library"),          lambda row: row.request.partner),
    "owner":       ListColumn(N_("Owner"),            owner),
    "pickup":      ListColumn(N_("Pickup place"),     lambda row: row.request.pickup_location),
    "card":        ListColumn(N_("Card"),             lambda row: row.request.patron),
    "collect":     ListColumn(N_("Collect until"),    lambda row: row.request.pickup_last,    SortKey.DUE),
    "due":         ListColumn(N_("Due"),              lambda row: row.request.due,            SortKey.DUE),
    "lender_due":  ListColumn(N_("Due home"),         lambda row: row.request.lender_due,     SortKey.DUE),
    "recalled":    ListColumn(N_("Recalled on"),      lambda row: row.request.recalled_on),
    "position":    ListColumn(N_("Position"),         position),
    "why":         ListColumn(N_("Cause"),            why),
    "flags":       ListColumn(N_("Flags"),            flags),
    "days":        ListColumn(N_("Days there"),       lambda row: row.days,                   SortKey.DAYS, figure=True),
    "number":      ListColumn(N_("Request"),          lambda row: row.request.id),
    "author":      ListColumn(N_("Author"),           lambda row: row.author),
    "volume":      ListColumn(N_("Volume"),           lambda row: row.request.volume),
    "material":    ListColumn(N_("Material"),         lambda row: row.material),
})

SHOWN: Final[Mapping[ListName, tuple[str, ...]]] = MappingProxyType({
    L.PULL:      ("call_number", "title", "barcode", "partner", "days"),
    L.EXPECTED:  ("title", "barcode", "partner", "pickup", "days"),
    L.SHELF:     ("title", "barcode", "card", "collect", "days"),
    L.EXPIRED:   ("title", "barcode", "card", "collect", "days"),
    L.TO_RETURN: ("title", "barcode", "owner", "days"),
    L.ON_LOAN:   ("title", "barcode", "card", "due", "days"),
    L.OVERDUE:   ("title", "barcode", "card", "due", "days"),
    L.RECALLS:   ("title", "barcode", "card", "recalled", "due"),
    L.LENDING:   ("title", "barcode", "partner", "position", "lender_due", "days"),
    L.STUCK:     ("title", "partner", "position", "why", "days"),
    L.FLAGGED:   ("title", "partner", "position", "flags", "days"),
})
"""The columns of each list on its page."""

IN_FILE: Final = ("number", "title", "author", "volume", "call_number", "material", "barcode", "owner", "partner", "pickup",
                  "card", "position", "days", "collect", "due", "lender_due", "recalled", "flags", "why")
"""The columns of every list in its CSV file."""

SORTS: Final[Mapping[SortKey, str]] = MappingProxyType({
    SortKey.DAYS:        N_("Days there"),
    SortKey.CALL_NUMBER: N_("Call number"),
    SortKey.TITLE:       N_("Title"),
    SortKey.DUE:         N_("Date"),
})
"""The orders that the page offers."""
# fmt: on

OF_CLERKS: Final = frozenset({"card", "why"})
"""Columns with cards, or with text that may name a patron (`circulation/staff/names.py`)."""


def for_role(names: tuple[str, ...], role: StaffRole) -> tuple[str, ...]:
    """Return those of these columns that this role sees."""
    return names if sees_names(role) else tuple(name for name in names if name not in OF_CLERKS)
