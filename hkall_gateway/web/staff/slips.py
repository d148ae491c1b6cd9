"""Slips that the browser prints: for fetching our own copy, for the hold shelf, and for the transit to the lender."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from io import BytesIO
from types import MappingProxyType
from typing import Final

from barcode import Code128
from barcode.errors import BarcodeError
from barcode.writer import SVGWriter
from flask import Blueprint, Response, abort, make_response, render_template, request

from hkall_gateway.circulation import queries
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff import console
from hkall_gateway.circulation.staff.actions import Act
from hkall_gateway.circulation.staff.console import SlipRow
from hkall_gateway.db.queries.work_lists import MOST, ListName, PageOrder, SortKey
from hkall_gateway.rules.positions import SlipKind
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Borrower, Holding, Request
from hkall_gateway.web.i18n import A_YEAR_S, N_, library_name
from hkall_gateway.web.middleware import PICTURE
from hkall_gateway.web.paths import set_own_cookie
from hkall_gateway.web.services import execute, services
from hkall_gateway.web.sessions import actor, needs
from hkall_gateway.web.staff.lists import WORK_LISTS

PAGES = Blueprint("slips", __name__)
BARCODES = Blueprint("barcodes", __name__)
"""Separate from PAGES, so that error pages for barcodes do not highlight the slips in the menu."""


LONGEST: Final = 40
"""Maximum number of characters in a barcode that fits on a slip."""
OPTIONS: Final = {"module_width": 0.25, "module_height": 11.0, "quiet_zone": 2.5, "write_text": False}
"""Sizes in millimetres. A module of 0.25 mm is two dots of a thermal printer with 203 dpi; the quiet zone is ten modules."""
A_DAY: Final = "private, max-age=86400"


@BARCODES.get("/staff/barcode/<path:text>")
@needs(StaffRole.CLERK)
def picture(text: str) -> Response:
    """Serve the barcode of a copy or request as SVG, with a Content-Security-Policy that permits the SVG's inline styles."""
    if len(text) > LONGEST or not encodable(text):
        abort(404)
    return Response(
        code128(text), mimetype="image/svg+xml", headers={"Content-Security-Policy": PICTURE, "Cache-Control": A_DAY}
    )


def encodable(text: str) -> bool:
    """Check that Code 128 can encode a text, which must be printable ASCII."""
    return bool(text) and text.isascii() and text.isprintable()


@lru_cache(maxsize=512)
def code128(text: str) -> bytes:
    """Render the barcode for a text as SVG. Raises ValueError if the text is not `encodable`."""
    file = BytesIO()
    try:
        Code128(text, writer=SVGWriter()).write(file, options=dict(OPTIONS))
    except BarcodeError as error:
        raise ValueError(str(error)) from error
    return file.getvalue()


PAPER: Final = "__Host-hkall-paper"
"""Cookie with the paper size for this browser's printer."""

KINDS: Final[Mapping[ListName, SlipKind]] = {name: one.slip for name, one in WORK_LISTS.items() if one.slip}
"""The kind of slip for each list that has slips."""

# fmt: off
PAPERS: Final[Mapping[str, str]] = MappingProxyType({
    "a6":      N_("A6"),
    "thermal": N_("Roll, 80 mm"),
    "a4":      N_("A4, to be cut in four"),
})
"""Labels of paper sizes. Each size has a print style sheet such as `static/slips-a6.css`."""

# fmt: on


@dataclass(frozen=True, slots=True, kw_only=True)
class Slip:
    """One slip.

    Attributes:
        agency: Agency of the library to which the copy goes, or of the owner on a slip for the hold shelf.
        library: Name of that library, or "" if only the agency is known.
        person: Patron's name or initials, never logged. Set only for the hold shelf, as the setting `hold_slip` says.
        card: Patron's card or its last characters, likewise.
    """

    request: Request
    copy: Holding | None
    agency: str
    library: str
    person: str
    card: str
    printed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The slips that a URL or form requests. If `numbers` is empty, the whole list is requested."""

    name: ListName
    paper: str
    numbers: tuple[str, ...]
    unprinted: bool
    after: str

    @property
    def kind(self) -> SlipKind:
        """Kind of slip for this list."""
        return KINDS[self.name]


@PAGES.get("/staff/slips")
@needs(StaffRole.CLERK)
def slips() -> Response:
    """Preview the slips without recording that they are printed. Store the paper size in a cookie."""
    wanted = _read_wanted(request.args)
    answer = make_response(_render_slips(wanted))
    if "paper" in request.args:
        set_own_cookie(answer, PAPER, wanted.paper, max_age=A_YEAR_S)
    return answer


@PAGES.post("/staff/slips")
@needs(Act)
def printed() -> str:
    """Record the slips in the form as printed, and show them. A reprinted slip shows when it was first printed."""
    wanted = _read_wanted(request.form)
    if not wanted.numbers:
        abort(400)
    return _render_slips(wanted, printing=True)


def _render_slips(wanted: Wanted, *, printing: bool = False) -> str:
    found, following = slips_of(wanted)
    results = {
        slip.request.id: execute(Act(by=actor("print"), request=slip.request.id, action="print")) for slip in found if printing
    }
    failed = tuple(number for number, answer in results.items() if isinstance(answer, Refused))  # not recorded as printed
    return render_template(
        "staff/slips.html",
        wanted=wanted,
        kind=wanted.kind.value,
        slips=[slip for slip in found if slip.request.id not in failed],
        failed=failed,
        missing=len(wanted.numbers) - len(found) if wanted.numbers else 0,
        following=following,
        printing=printing,
        lists=[(name.value, WORK_LISTS[name].words) for name in KINDS],
        papers=PAPERS,
        now=services().now(),
    )


def _read_wanted(query: Mapping[str, str]) -> Wanted:
    name, kept = query.get("list", ListName.PULL.value), request.cookies.get(PAPER, "")
    paper = query.get("paper", kept if kept in PAPERS else next(iter(PAPERS)))
    if name not in {one.value for one in KINDS} or paper not in PAPERS:
        abort(404)
    numbers = dict.fromkeys(request.values.getlist("request"))
    return Wanted(
        name=ListName(name),
        paper=paper,
        numbers=tuple(numbers)[:MOST],
        unprinted=bool(query.get("unprinted")),
        after=query.get("after", ""),
    )


def slips_of(wanted: Wanted) -> tuple[tuple[Slip, ...], str]:
    """Return the slips, and the cursor for the rest of the list, or "" if the list is complete.

    Pull slips are sorted by call number. Requests whose position has no slip of the wanted kind are left out.
    """
    following = ""
    if wanted.numbers:
        requests = execute(queries.find_requests(wanted.numbers))
    else:
        key = SortKey.CALL_NUMBER if wanted.kind is SlipKind.PULL else SortKey.DAYS
        order = PageOrder(key=key, after=wanted.after, most=MOST)
        page = execute(console.work_list(wanted.name, StaffRole.CLERK, order))
        requests, following = tuple(row.request for row in page.rows), page.next
    slips = [_make_slip(row, wanted.kind) for row in execute(console.slips_for(requests, wanted.kind))]
    return tuple(slip for slip in slips if not (wanted.unprinted and slip.printed_at)), following


def who_collects(patron: Borrower | None, card: str) -> tuple[str, str]:
    """Return the name and the card as a hold slip shows them: by default the initials and the card's last four characters."""
    names = [name for name in (patron.name.reveal(), patron.name_zh.reveal()) if name] if patron else []
    shows = services().settings().hold_slip
    if shows == "name":
        return "  ".join(names), card
    initials = "".join(word[0] for word in names[0].split()) if names and shows == "initials" else ""
    return initials, f"…{card[-4:]}" if card else ""


def _make_slip(row: SlipRow, kind: SlipKind) -> Slip:
    person, card = "", ""
    if kind is SlipKind.HOLD:
        person, card = who_collects(row.patron, row.request.patron)
    library = ""
    if row.partner and row.partner.name != row.agency:
        library = library_name(row.agency, row.partner.name)
    return Slip(
        request=row.request,
        copy=row.copy,
        agency=row.agency,
        library=library,
        person=person,
        card=card,
        printed_at=row.printed_at,
    )
