"""The work lists: a page of rows with filter and order in its address, and the whole list as a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, Response, abort, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as Answer

from hkall_gateway.circulation.common.context import Context, in_context
from hkall_gateway.circulation.staff import console
from hkall_gateway.db.queries.work_lists import ListName, ListPage, ListRow, Only, PageOrder, SortKey
from hkall_gateway.rules.dates.calendar import civil
from hkall_gateway.web.access import may, needs, staff_role
from hkall_gateway.web.csv_file import csv_file
from hkall_gateway.web.i18n import gettext
from hkall_gateway.web.labels import LIST_NAMES, LISTS
from hkall_gateway.web.roles import StaffRole
from hkall_gateway.web.services import services
from hkall_gateway.web.staff.columns import COLUMNS, IN_FILE, SHOWN, SORTS, for_role
from hkall_gateway.web.staff.slip_kinds import KINDS

PAGES = Blueprint("lists", __name__)

LENT: Final = frozenset({ListName.PULL, ListName.LENDING})
"""Lists of our own copies, which are not collected at a place of ours."""

ROWS: Final = 50
"""Rows of a page."""
ROWS_OF_A_FILE: Final = 200
"""Rows that a file reads at once."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A page of a list, with the partners and the materials that the filter offers."""

    page: ListPage
    partners: tuple[str, ...]
    places: tuple[str, ...]
    materials: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class View:
    """The list that an address names: its kind, its filter, its order and its beginning."""

    name: ListName
    only: Only
    order: PageOrder

    def address(self, **changed: Any) -> str:
        """Return the address of this list with these values; without others it begins at the first row."""
        return url_for("lists.work_list", name=self.name, **{**self.values, **changed})

    @property
    def direction(self) -> str:
        """Return the direction of the sorted column. The oldest come first, thus the highest number of days."""
        falls = (self.order.key is SortKey.DAYS) is not self.order.reverse
        return "descending" if falls else "ascending"

    @property
    def values(self) -> dict[str, str]:
        """Return the filter and the order as they stand in an address; a default does not."""
        said = {"partner": self.only.partner, "pickup": self.only.pickup, "material": self.only.material}
        said |= {"sort": self.order.key if self.order.key is not SortKey.DAYS else ""}
        said |= {"reverse": "1" if self.order.reverse else ""}
        return {name: str(value) for name, value in said.items() if value}


@PAGES.get("/staff/lists/")
@needs(StaffRole.VIEWER)
def first() -> Answer:
    """Leads to the first list."""
    return redirect(url_for("lists.work_list", name=ListName.PULL), 303)


@PAGES.get("/staff/lists/<name>")
@needs(StaffRole.VIEWER)
def work_list(name: str) -> str:
    """A page of a list."""
    view = view_of(name)
    found = services().bridge.read(in_context, _shown, services().library(), services().now(), view)
    return render_template(
        "staff/list.html",
        view=view,
        found=found,
        title=LIST_NAMES[view.name],
        groups=LISTS,
        shown=SHOWN[view.name],
        columns=[(key, COLUMNS[key]) for key in for_role(SHOWN[view.name], staff_role())],
        choices=_choices(found),
        slips=view.name in KINDS,
        collects=view.name not in LENT,
        may_act=may(StaffRole.CLERK),
        today=civil(services().now()),
    )


@PAGES.get("/staff/lists/<name>.csv")
@needs(StaffRole.VIEWER)
def as_file(name: str) -> Response:
    """The whole list with its filter and in its order."""
    view = view_of(name)
    columns = [COLUMNS[key] for key in for_role(IN_FILE, staff_role())]
    rows = ([column.value(row) for column in columns] for row in _all_rows(view))
    return csv_file(f"hkall-{view.name}-{civil(services().now())}.csv", [gettext(column.head) for column in columns], rows)


def view_of(name: str) -> View:
    """Return what the address says. An unknown list is no page; an unknown order is the usual one."""
    if name not in LIST_NAMES:
        abort(404)
    said: Mapping[str, str] = request.args
    only = Only(said.get("partner", ""), said.get("pickup", ""), said.get("material", ""))
    key = SortKey(said["sort"]) if said.get("sort", "") in SORTS else SortKey.DAYS
    return View(ListName(name), only, PageOrder(key, bool(said.get("reverse")), said.get("after", ""), ROWS))


def _shown(context: Context, view: View) -> Shown:
    page = console.work_list(context, view.name, staff_role(), view.order, view.only)
    rows = [row.request for row in page.rows]
    partners = {*context.unit.circuits.used(), *(row.partner for row in rows), view.only.partner}
    places = {*context.library.pickup_locations, *(row.pickup_location for row in rows), view.only.pickup}
    materials = {*context.library.policy.materials, *(row.material for row in page.rows), view.only.material}
    return Shown(page, _offered(partners), _offered(places), _offered(materials))


def _choices(found: Shown) -> Mapping[str, list[tuple[str, str]]]:
    """Return the values and the words of each field of the filter."""
    offered = {"partner": found.partners, "pickup": found.places, "material": found.materials}
    named = {field: [(value, value) for value in values] for field, values in offered.items()}
    return {**named, "sort": [(key.value, gettext(word)) for key, word in SORTS.items()]}


def _offered(values: set[str]) -> tuple[str, ...]:
    return tuple(sorted(filter(None, values)))


def _all_rows(view: View) -> Iterator[ListRow]:
    """Yield the rows of every page, each page read on its own: no transaction lasts as long as a download."""
    after: str | None = ""
    while after is not None:
        order = PageOrder(view.order.key, view.order.reverse, after, ROWS_OF_A_FILE)
        page = services().bridge.read(
            in_context, console.work_list, services().library(), services().now(), view.name, staff_role(), order, view.only
        )
        yield from page.rows
        after = page.next or None
