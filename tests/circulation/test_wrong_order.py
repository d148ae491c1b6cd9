"""Repeated, late, early and misordered messages, on both sides, as one table (lifecycle.md 2.4)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.circulation.command import InboxKey
from hkall_gateway.circulation.partner_notice import ItemReceived, ItemShipped
from hkall_gateway.circulation.results import Noted, Refused
from hkall_gateway.rules.positions import FINAL, LENDING
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import ItemKey, Position, Side
from tests.circulation.conftest import NEWS_KINDS, sent_as

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
C1, K9 = ItemKey("CUHK", "C1"), ItemKey("HKU", "K9")
ASKED = {"wire_agency": "HKU", "wire_id": "R1-1"}
LENT = {"side": Side.LENDING, "lender_due": date(2017, 4, 15)}
THEIRS = {"item": K9, "wire_agency": "CUHK", "wire_id": "c-1"}
LOAN = {"first_checkout": date(2017, 2, 1), "due": date(2017, 2, 26), "used": True}
DUE = date(2017, 4, 20)


@dataclass(frozen=True, slots=True)
class Row:
    """`arrives` (a service method) in `position`: the resulting position, note or refusal reason, and field values."""

    arrives: str
    position: Position
    after: Position
    says: str = ""
    given: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    told: tuple[str, ...] = ()
    said: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        side = "lending" if self.given.get("side") is Side.LENDING else "borrowing"
        return f"{self.arrives}-{self.position}-{side}" + (f"-{self.says}" if self.says else "")


NEXT = ("HKUST ask_lender",)
FILLED = {"lender_due": DUE}

# fmt: off
ROWS = (
    # ItemShipped, we borrow: in RECEIVED or later a success that fills in what is missing
    Row("shipped", P.REQUESTED,      P.IN_TRANSIT,     said=ASKED, facts=FILLED | {"item_barcode": "C1"}),
    Row("shipped", P.IN_TRANSIT,     P.IN_TRANSIT,     "already under way", said=ASKED),
    Row("shipped", P.RECEIVED,       P.RECEIVED,       "already here", said=ASKED, facts=FILLED),
    Row("shipped", P.RECEIVED,       P.RECEIVED,       "already here", {"lender_due": date(2017, 4, 1)}, said=ASKED,
        facts={"lender_due": date(2017, 4, 1)}),
    Row("shipped", P.ON_LOAN,        P.ON_LOAN,        "already here", LOAN, facts=FILLED, said=ASKED),
    Row("shipped", P.TO_RETURN,      P.TO_RETURN,      "already here", said=ASKED),
    Row("shipped", P.RETURN_TRANSIT, P.RETURN_TRANSIT, "already here", said=ASKED),
    Row("shipped", P.CANCELLING,     P.IN_TRANSIT,     said=ASKED, facts={"unwanted": True}),
    Row("shipped", P.CLOSED,         P.CLOSED,         "late", said=ASKED),
    # ItemShipped, we lend: the way back
    Row("shipped", P.SHIPPED,        P.RETURN_TRANSIT, given=LENT, said=THEIRS, facts={"skipped": "received"}),
    Row("shipped", P.AT_BORROWER,    P.RETURN_TRANSIT, given=LENT, said=THEIRS),
    Row("shipped", P.AT_BORROWER,    P.RETURN_TRANSIT, given=LENT | {"recalled_on": date(2017, 2, 1)}, said=THEIRS),
    Row("shipped", P.AT_BORROWER,    P.RETURN_TRANSIT, given=LENT | {"renewals": 2}, said=THEIRS),
    Row("shipped", P.RETURN_TRANSIT, P.RETURN_TRANSIT, "known already", LENT, said=THEIRS),
    Row("shipped", P.PAGED,          P.RETURN_TRANSIT, given=LENT, said=THEIRS, facts={"skipped": "PAGED"}),
    Row("shipped", P.CLOSED,         P.CLOSED,         "late", LENT, said=THEIRS),
    # ItemReceived, we lend
    Row("received", P.PAGED,          P.AT_BORROWER,    given=LENT, said=THEIRS, facts={"unannounced": True}),
    Row("received", P.SHIPPED,        P.AT_BORROWER,    given=LENT, said=THEIRS),
    Row("received", P.AT_BORROWER,    P.AT_BORROWER,    "known already", LENT, said=THEIRS),
    Row("received", P.RETURN_TRANSIT, P.RETURN_TRANSIT, "known already", LENT, said=THEIRS),
    Row("received", P.CLOSED,         P.CLOSED,         "late", LENT, said=THEIRS),
    Row("received", P.WITHDRAWN,      P.WITHDRAWN,      "late", LENT, said=THEIRS),
    # the final check-in, we borrow: the book is physically at its owner's, unless we have it by our own scan
    Row("received", P.RETURN_TRANSIT, P.CLOSED),
    Row("received", P.TO_RETURN,      P.CLOSED,         "home while TO_RETURN", facts={"skipped": "TO_RETURN"}),
    Row("received", P.ON_LOAN,        P.ON_LOAN,        "contradicts_us", LOAN),
    Row("received", P.RECEIVED,       P.RECEIVED,       "contradicts_us"),
    Row("received", P.IN_TRANSIT,     P.REQUESTED,      "never sent", told=NEXT, facts={"item_barcode": ""}),
    Row("received", P.IN_TRANSIT,     P.CLOSED,         "home while IN_TRANSIT", {"unwanted": True}),
    Row("received", P.REQUESTED,      P.REQUESTED,      "never sent", said=ASKED, told=NEXT),
    Row("received", P.CANCELLING,     P.CANCELLED,      "never sent", said=ASKED),
    Row("received", P.CLOSED,         P.CLOSED,         "late"),
    # the lender declines: before shipment only
    Row("request_cancelled", P.REQUESTED,  P.REQUESTED,  said=ASKED, told=NEXT, facts={"partner": "HKUST"}),
    Row("request_cancelled", P.CANCELLING, P.CANCELLED,  said=ASKED),
    Row("request_cancelled", P.IN_TRANSIT, P.IN_TRANSIT, "already_shipped", said=ASKED),
    Row("request_cancelled", P.RECEIVED,   P.RECEIVED,   "already_shipped", said=ASKED),
    Row("request_cancelled", P.ON_LOAN,    P.ON_LOAN,    "already_shipped", LOAN, said=ASKED),
    Row("request_cancelled", P.CLOSED,     P.CLOSED,     "late", said=ASKED),
    # the borrower withdraws: before shipment only
    Row("request_cancelled", P.PAGED,       P.WITHDRAWN,   given=LENT, said=THEIRS),
    Row("request_cancelled", P.SHIPPED,     P.SHIPPED,     "too_late_to_cancel", LENT, said=THEIRS),
    Row("request_cancelled", P.AT_BORROWER, P.AT_BORROWER, "too_late_to_cancel", LENT, said=THEIRS),
    Row("request_cancelled", P.WITHDRAWN,   P.WITHDRAWN,   "late", LENT, said=THEIRS),
    # recalls of what is not with the patron any more
    Row("recalled", P.RETURN_TRANSIT, P.RETURN_TRANSIT, "late"),
    Row("recalled", P.CANCELLED,      P.CANCELLED,      "late", said=ASKED),
    Row("recalled", P.CANCELLING,     P.CANCELLING,     "late", said=ASKED),
    Row("recalled", P.CLOSED,         P.CLOSED,         "late"),
    Row("recall_cancelled", P.TO_RETURN, P.TO_RETURN,   "late"),
    # renewals of what is not on loan
    Row("renewed", P.RETURN_TRANSIT, P.RETURN_TRANSIT, "not_on_loan"),
    Row("renewed", P.PAGED,          P.PAGED,          "not_on_loan", LENT, said=THEIRS),
    Row("renewed", P.RETURN_TRANSIT, P.RETURN_TRANSIT, "not_on_loan", LENT, said=THEIRS),
    Row("renewed", P.CLOSED,         P.CLOSED,         "not_on_loan", LENT, said=THEIRS),
)
# fmt: on


def arrive(library: DeskWorld, row: Row, inbox: InboxKey | None = None, **more: Any) -> Any:
    ask = library.heard(**{"due": DUE, **row.said, **more})
    return library.ask(library.circulation.execute(sent_as(NEWS_KINDS[row.arrives], ask), inbox=inbox))


def said(answer: Any) -> str:
    """The refusal reason, "late", or the note of a success."""
    if isinstance(answer, Refused):
        return answer.why.value
    return "late" if answer.late else answer.note if isinstance(answer, Noted) else ""


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_message_out_of_order_is_applied(library: DeskWorld, row: Row) -> None:
    library.given(row.position, **row.given)

    answer = arrive(library, row)

    found = library.request()
    assert said(answer) == row.says
    assert found.position is row.after
    assert {name: getattr(found, name) for name in row.facts} == row.facts
    assert tuple(library.told()) == row.told


@pytest.mark.parametrize("row", [row for row in ROWS if row.position in FINAL or row.says == "late"], ids=str)
def test_message_after_the_end_of_a_request_changes_nothing(library: DeskWorld, row: Row) -> None:
    before = library.given(row.position, **row.given)

    arrive(library, row)

    assert library.request() == before


@pytest.mark.parametrize("row", [row for row in ROWS if row.says == "late"], ids=str)
def test_late_message_is_journalled(library: DeskWorld, row: Row) -> None:
    library.given(row.position, **row.given)

    arrive(library, row)

    assert [line["event"] for line in library.journal()] == ["OPEN", "LATE"]


REFUSALS = frozenset(Reason)


@pytest.mark.parametrize("row", [row for row in ROWS if row.says in REFUSALS], ids=str)
def test_refused_message_changes_nothing_and_is_journalled(library: DeskWorld, row: Row) -> None:
    before = library.given(row.position, **row.given)

    arrive(library, row)

    flags = {Reason.ALREADY_SHIPPED: "declined_after_shipment", Reason.CONTRADICTS_US: "contradicted"}.get(Reason(row.says), "")
    assert library.request() == replace(before, flags=flags)
    assert library.journal()[-1]["outcome"] == row.says


@pytest.mark.parametrize("row", [row for row in ROWS if row.says not in REFUSALS], ids=str)
def test_repeated_document_gets_the_same_reply_without_an_effect(library: DeskWorld, row: Row) -> None:
    library.given(row.position, **row.given)
    key = InboxKey(agency="CUHK", digest="digest", keep_s=900)
    first = arrive(library, row, inbox=key)
    before = (library.request(), library.told(), len(library.journal()))

    again = arrive(library, row, inbox=key)

    assert again == first
    assert (library.request(), library.told(), len(library.journal())) == before


@pytest.mark.parametrize("row", [row for row in ROWS if row.position not in FINAL], ids=str)
def test_message_from_another_library_is_refused(library: DeskWorld, row: Row) -> None:
    before = library.given(row.position, **row.given)

    answer = arrive(library, row, partner="POLYU")

    assert isinstance(answer, Refused)
    assert library.request() == before


@pytest.mark.parametrize("arrives", sorted({row.arrives for row in ROWS}))
@pytest.mark.parametrize("wire_agency", ["HKU", "CUHK"])
def test_message_about_an_unknown_request_is_refused(library: DeskWorld, arrives: str, wire_agency: str) -> None:
    item = C1 if wire_agency == "HKU" else K9

    answer = arrive(library, Row(arrives, P.NEW, P.NEW), wire_agency=wire_agency, wire_id="nobody-1", item=item)

    assert answer.why in {Reason.UNKNOWN_REQUEST, Reason.UNKNOWN_ITEM, Reason.AGENCY_NOT_OWNER}


def test_item_arriving_after_its_request_ended_gets_a_new_request(library: DeskWorld) -> None:
    before = library.given(P.UNFILLED)

    library.ask(library.circulation.execute(sent_as(ItemShipped, library.heard(**ASKED))))

    assert library.request("R1") == before
    assert (library.request("R2").kind, library.request("R2").unwanted) == ("stray", True)


def test_r40_loan_returned_elsewhere_is_fined_until_the_date_its_owner_reports(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-25 10:00")
    when = replace(library.heard(), at=library.clock("2017-03-18 10:00"), judged=True)

    library.ask(library.circulation.execute(sent_as(ItemReceived, when)))

    assert (library.owed(), library.request().returned_on) == (400, date(2017, 3, 18))


SCANNED = [
    (P.SHIPPED, "home", "SHIPPED"),
    (P.AT_BORROWER, "home", "AT_BORROWER"),
    (P.RETURN_TRANSIT, "home", ""),
]


@pytest.mark.parametrize(("position", "what", "skipped"), SCANNED)
def test_own_item_scanned_at_our_counter_completes_its_request_despite_missed_messages(
    library: DeskWorld, position: Position, what: str, skipped: str
) -> None:
    library.given(position, **LENT)

    answer = library.check_in("K9")

    assert (answer.what, library.request().position, library.request().skipped) == (what, P.CLOSED, skipped)
    assert library.told() == ["CUHK tell_borrower_home"]


def test_every_position_of_both_sides_is_in_the_table() -> None:
    borrowing = {row.position for row in ROWS if row.given.get("side") is not Side.LENDING}
    lending = {row.position for row in ROWS if row.given.get("side") is Side.LENDING}
    assert borrowing >= set(P) - LENDING - {P.NEW, P.UNFILLED}
    assert lending >= LENDING - {P.DECLINED}
