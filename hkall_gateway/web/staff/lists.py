"""Work lists, shown in pages with filter and sort order in the URL, or downloaded as a CSV file."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from itertools import chain, islice
from types import MappingProxyType
from typing import Final

from flask import Blueprint, Response, abort, redirect, render_template, request, stream_with_context, url_for
from werkzeug.wrappers import Response as Answer

from hkall_gateway.circulation.staff import console
from hkall_gateway.circulation.staff.permitted import sees_names
from hkall_gateway.db.queries.work_lists import MOST, ListName, ListPage, ListRow, Only, PageOrder, SortKey
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.positions import SlipKind
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Request, Side
from hkall_gateway.web.i18n import N_, gettext, place_name
from hkall_gateway.web.labels import code_words, flag_words, job_words, word
from hkall_gateway.web.services import execute, services
from hkall_gateway.web.sessions import may, needs, staff_role

BOM: Final = "\ufeff"
"""Byte order mark, without which Excel decodes UTF-8 in the machine's own code page."""
FORMULA: Final = re.compile(r"(\A|[;\t\r\n])(?=\s*[=+\-@＝＋－＠])|\A(?=[\t\r\n])")
"""Matches the position before a formula: at the start of a cell, also after blanks, and after characters at which spreadsheets
in some locales split cells. Source: OWASP, CSV injection."""
BLOCK: Final = 200
"""Rows per chunk of a download."""


def csv_file(name: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    """Return a CSV download called `name`, in UTF-8 with a byte order mark. Reads `rows` while sending the response."""
    answer = Response(
        stream_with_context(_csv_blocks(heads, rows)), mimetype="text/csv", content_type="text/csv; charset=utf-8"
    )
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def defused(value: object) -> object:
    """Return a cell's value with an apostrophe before each formula, so that no spreadsheet evaluates the formula."""
    return FORMULA.sub(r"\1'", value) if isinstance(value, str) else value


def _csv_blocks(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield BOM
    lines = chain([heads], rows)
    while block := [[defused(cell) for cell in line] for line in islice(lines, BLOCK)]:
        text = StringIO()
        csv.writer(text).writerows(block)
        yield text.getvalue()


L = ListName


@dataclass(frozen=True, slots=True, kw_only=True)
class ListColumn:
    """One column of the work lists.

    Attributes:
        value: Returns the cell for a row.
        sort: Sort key for the link in the column head, or None for no link.
        personal: Whether cells show cards or text that may name a patron. Viewers do not see such a column.
    """

    head: str
    value: Callable[[ListRow], object]
    sort: SortKey | None = None
    figure: bool = False
    personal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkList:
    """One work list.

    Attributes:
        urgent: Whether staff should look at the list as soon as a row appears.
        collected: Whether patrons collect the books here, so that rows have a pickup location.
        acts: Commands that the list offers for selected rows. A further page offers all others.
        sort: Sort order of the list unless the URL names another.
    """

    words: str
    group: str
    columns: tuple[str, ...]
    slip: SlipKind | None = None
    urgent: bool = False
    collected: bool = True
    acts: tuple[str, ...] = ()
    sort: SortKey = SortKey.DAYS


def cause_of(row: ListRow) -> str:
    """Return the error or partner's refusal that blocks a request, or "" if the request has merely waited for too long."""
    return "; ".join(filter(None, (job_words(row.set_aside), row.fault)))


def owner_of(row: ListRow) -> str:
    """Return the agency of the library that owns the copy."""
    return row.request.item_agency or (row.request.partner if row.request.side is Side.BORROWING else "")


def place_of(request: Request) -> str:
    """Return where our patron collects the book, or "" for a book that we lend: its place has no name here."""
    return request.pickup_location if request.side is Side.BORROWING else ""


COLUMNS: Final[Mapping[str, ListColumn]] = MappingProxyType(
    {
        "number": ListColumn(head=N_("Request"), value=lambda row: row.request.id),
        "title": ListColumn(head=N_("Title"), value=lambda row: row.request.title, sort=SortKey.TITLE),
        "linked_title": ListColumn(head=N_("Title in the original script"), value=lambda row: row.request.linked_title),
        "author": ListColumn(head=N_("Author"), value=lambda row: row.author),
        "volume": ListColumn(head=N_("Volume"), value=lambda row: row.request.volume),
        "call_number": ListColumn(head=N_("Call number"), value=lambda row: row.call_number, sort=SortKey.CALL_NUMBER),
        "material": ListColumn(head=N_("Material"), value=lambda row: word("materials", row.material)),
        "barcode": ListColumn(head=N_("Barcode"), value=lambda row: row.request.item_barcode),
        "owner": ListColumn(head=N_("Owner"), value=owner_of),
        "partner": ListColumn(head=N_("Library"), value=lambda row: row.request.partner),
        "pickup": ListColumn(head=N_("Pickup place"), value=lambda row: place_name(place_of(row.request))),
        "card": ListColumn(head=N_("Card"), value=lambda row: row.request.patron, personal=True),
        "position": ListColumn(head=N_("Position"), value=lambda row: word("positions", row.request.position)),
        "days": ListColumn(head=N_("Days there"), value=lambda row: row.days, sort=SortKey.DAYS, figure=True),
        "collect": ListColumn(head=N_("Collect until"), value=lambda row: row.request.pickup_last, sort=SortKey.DUE),
        "due": ListColumn(head=N_("Due"), value=lambda row: row.request.due, sort=SortKey.DUE),
        "lender_due": ListColumn(head=N_("Due home"), value=lambda row: row.request.lender_due, sort=SortKey.DUE),
        "recalled": ListColumn(head=N_("Recalled on"), value=lambda row: row.request.recalled_on),
        "flags": ListColumn(head=N_("Flags"), value=lambda row: flag_words(row.request.flags)),
        "why": ListColumn(head=N_("Cause"), value=cause_of, personal=True),
    }
)
"""All columns. Every CSV file contains all columns, in this order."""

_COUNTER, _LENT, _LOOK = N_("At the counter"), N_("Lent"), N_("To look at")
WORK_LISTS: Final[Mapping[ListName, WorkList]] = MappingProxyType(
    {
        L.PULL: WorkList(
            words=N_("To fetch from our shelves"),
            group=_COUNTER,
            columns=("call_number", "title", "barcode", "partner", "days"),
            slip=SlipKind.PULL,
            collected=False,
            acts=("ship", "decline"),
            sort=SortKey.CALL_NUMBER,
        ),
        L.EXPECTED: WorkList(
            words=N_("On the way to us"),
            group=_COUNTER,
            columns=("title", "barcode", "partner", "pickup", "days"),
            acts=("receive",),
        ),
        L.SHELF: WorkList(
            words=N_("Waiting for collection"),
            group=_COUNTER,
            columns=("title", "barcode", "card", "collect", "days"),
            slip=SlipKind.HOLD,
            acts=("return_unused",),
        ),
        L.EXPIRED: WorkList(
            words=N_("Not collected in time"),
            group=_COUNTER,
            columns=("title", "barcode", "card", "collect", "days"),
            urgent=True,
            acts=("return_unused",),
        ),
        L.TO_RETURN: WorkList(
            words=N_("To send home"),
            group=_COUNTER,
            columns=("title", "barcode", "owner", "days"),
            slip=SlipKind.TRANSIT,
            acts=("dispatch",),
        ),
        L.ON_LOAN: WorkList(
            words=N_("On loan to our patrons"),
            group=_LENT,
            columns=("title", "barcode", "card", "due", "days"),
            acts=("renew",),
        ),
        L.OVERDUE: WorkList(
            words=N_("Overdue"), group=_LENT, columns=("title", "barcode", "card", "due", "days"), urgent=True, acts=("renew",)
        ),
        L.RECALLS: WorkList(words=N_("Recalled"), group=_LENT, columns=("title", "barcode", "card", "recalled", "due")),
        L.LENDING: WorkList(
            words=N_("Our books elsewhere"),
            group=_LENT,
            columns=("title", "barcode", "partner", "position", "lender_due", "days"),
            collected=False,
        ),
        L.STUCK: WorkList(
            words=N_("Standing still"), group=_LOOK, columns=("title", "partner", "position", "why", "days"), urgent=True
        ),
        L.FLAGGED: WorkList(
            words=N_("Flagged"), group=_LOOK, columns=("title", "partner", "position", "flags", "days"), urgent=True
        ),
    }
)
"""The work lists, grouped, in the order of a morning's work."""

SORTS: Final[Mapping[SortKey, str]] = MappingProxyType(
    {
        SortKey.DAYS: N_("Days there"),
        SortKey.CALL_NUMBER: N_("Call number"),
        SortKey.TITLE: N_("Title"),
        SortKey.DUE: N_("Date"),
    }
)
"""The sort orders that the page offers."""

GROUPS: Final = {group: [row for row in WORK_LISTS.items() if row[1].group == group] for group in (_COUNTER, _LENT, _LOOK)}


def columns_for(names: Iterable[str], role: StaffRole) -> list[tuple[str, ListColumn]]:
    """Return the named columns that this role may see."""
    return [(name, COLUMNS[name]) for name in names if sees_names(role) or not COLUMNS[name].personal]


PAGES = Blueprint("lists", __name__)

ROWS: Final = 50
"""Rows per page."""
ROWS_OF_A_FILE: Final = 200
"""Rows per query for a CSV file."""


@dataclass(frozen=True, slots=True)
class View:
    """One page of a work list as described by the URL: the list's name, the filter, the sort order and the cursor."""

    name: ListName
    only: Only
    order: PageOrder

    def address(self, **changed: str) -> str:
        """Return the URL of this list with the values in `changed`. Without a cursor in `changed`, start at the first row."""
        return url_for("lists.work_list", name=self.name, **{**self.values, **changed})  # type: ignore[arg-type]  # as query

    @property
    def direction(self) -> str:
        """Return the sort direction of the sorted column. By default, requests with the most days come first."""
        falls = (self.order.key is SortKey.DAYS) is not self.order.reverse
        return "descending" if falls else "ascending"

    @property
    def values(self) -> dict[str, str]:
        """Return the filter and the sort order as query parameters, without default values."""
        query = {"partner": self.only.partner, "pickup": self.only.pickup, "material": self.only.material}
        query |= {"sort": self.order.key if self.order.key is not WORK_LISTS[self.name].sort else ""}
        query |= {"reverse": "1" if self.order.reverse else ""}
        return {name: str(value) for name, value in query.items() if value}


@PAGES.get("/staff/lists/")
@needs(StaffRole.VIEWER)
def first() -> Answer:
    """Redirect to the first list."""
    return redirect(url_for("lists.work_list", name=ListName.PULL), 303)


@PAGES.get("/staff/lists/<name>")
@needs(StaffRole.VIEWER)
def work_list(name: str) -> str:
    """Show one page of a work list."""
    view = view_of(name)
    found = execute(console.work_list(view.name, staff_role(), view.order, view.only))
    offered = _filter_choices(found, view, execute(console.partners_used()))
    filters = {name: [(one, code_words(name, one)) for one in sorted(filter(None, codes))] for name, codes in offered.items()}
    return render_template(
        "staff/list.html",
        view=view,
        page=found,
        work_list=WORK_LISTS[view.name],
        groups=GROUPS,
        columns=columns_for(WORK_LISTS[view.name].columns, staff_role()),
        choices={**filters, "sort": [(key.value, gettext(word)) for key, word in SORTS.items()]},
        may_act=may(StaffRole.CLERK),
        printing=view.order.most == MOST,
        today=civil(services().now()),
    )


@PAGES.get("/staff/lists/<name>.csv")
@needs(StaffRole.VIEWER)
def as_file(name: str) -> Response:
    """Download the whole list, with the filter and in the order of the page."""
    view = view_of(name)
    columns = [column for _, column in columns_for(COLUMNS, staff_role())]
    rows = ([column.value(row) for column in columns] for row in _every_row(view))
    return csv_file(f"hkall-{view.name}-{civil(services().now())}.csv", [gettext(column.head) for column in columns], rows)


def view_of(name: str) -> View:
    """Parse the URL. Answer 404 for an unknown list. Replace an unknown sort order with the default."""
    if name not in WORK_LISTS:
        abort(404)
    query: Mapping[str, str] = request.args
    only = Only(partner=query.get("partner", ""), pickup=query.get("pickup", ""), material=query.get("material", ""))
    key = SortKey(query["sort"]) if query.get("sort", "") in SORTS else WORK_LISTS[ListName(name)].sort
    rows = MOST if query.get("print") else ROWS
    return View(
        ListName(name), only, PageOrder(key=key, reverse=bool(query.get("reverse")), after=query.get("after", ""), most=rows)
    )


def _filter_choices(page: ListPage, view: View, used: Iterable[str]) -> dict[str, set[str]]:
    """Return the choices for each filter field. `used` are the partners that were ever sent a message."""
    library, requests = services().library(), [row.request for row in page.rows]
    return {
        "partner": {*used, *(request.partner for request in requests), view.only.partner},
        "pickup": {*library.pickup_locations, *map(place_of, requests), view.only.pickup},
        "material": {*library.policy.materials, *(row.material for row in page.rows), view.only.material},
    }


def _every_row(view: View) -> Iterator[ListRow]:
    """Yield the rows of all pages. Read each page separately, so that no transaction lasts as long as the download."""
    after: str | None = ""
    while after is not None:
        order = PageOrder(key=view.order.key, reverse=view.order.reverse, after=after, most=ROWS_OF_A_FILE)
        page = execute(console.work_list(view.name, staff_role(), order, view.only))
        yield from page.rows
        after = page.next or None
