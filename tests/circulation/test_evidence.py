"""Partner notifications that contradict our record: every table row, with each order of the two dates."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.circulation.choosing import NOBODY_ASKED
from hkall_gateway.circulation.partner_notice import ItemReceived, ItemShipped, PartnerNotice
from hkall_gateway.circulation.partners.partner_reports import CopyReport
from hkall_gateway.circulation.results import Refused
from hkall_gateway.rules.evidence import TABLE, Dated, Names, News, Verdict
from hkall_gateway.rules.positions import FINAL, LENDING
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Holding, ItemKey, Position, Request, Side
from tests.circulation.conftest import CLERK, NEWS_KINDS, TERMINAL, hkt, sent_as

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
C1, K9 = ItemKey("CUHK", "C1"), ItemKey("HKU", "K9")
SCANNED = "2017-03-08 10:00"
NEWS_AT = {Dated.EARLIER: "2017-03-07 10:00", Dated.SAME: "2017-03-08 09:00", Dated.LATER: "2017-03-09 10:00"}
LOAN = {"first_checkout": date(2017, 3, 1), "loan_days": 15, "due": date(2017, 3, 16), "used": True}
GIVEN: dict[Position, dict[str, Any]] = {P.ON_LOAN: LOAN, P.UNFILLED: {"item_agency": "", "item_barcode": ""}}
SCANS = {
    P.RECEIVED: "ARRIVE",
    P.ON_LOAN: "CHECK_OUT",
    P.TO_RETURN: "RETURN",
    P.RETURN_TRANSIT: "DISPATCH",
    P.CLOSED: "DISPATCH",
}
LENT_SCANS = {P.SHIPPED: "LEND", P.AT_BORROWER: "LEND", P.RETURN_TRANSIT: "LEND", P.DECLINED: "DECLINE"}
METHODS = {
    News.SHIPPED: "shipped",
    News.DECLINED: "request_cancelled",
    News.HOME: "received",
    News.RECALLED: "recalled",
    News.RECALL_CANCELLED: "recall_cancelled",
    News.RENEWED: "renewed",
    News.RECEIVED_THERE: "received",
    News.COMING_HOME: "shipped",
    News.WITHDRAWN: "request_cancelled",
    News.KEPT_LONGER: "renewed",
}
REPORTS = {News.CLAIMED: "claim", News.LOST: "lost"}
CHANGES = frozenset({"position", "due", "lender_due", "recalled_on", "claimed_on", "lost_on", "partner", "renewals"})
"""Fields that a notification may change. Even an ignored notification fills in a missing lender's date."""


def given(library: DeskWorld, side: Side, position: Position, news: News) -> Request:
    """A request at the position set by our scan, with the lender's date that a late message would fill in."""
    facts = {"lender_due": date(2017, 4, 15), **GIVEN.get(position, {})}
    if side is Side.LENDING:
        facts = {"side": side, "lender_due": date(2017, 4, 15)}
    elif position in {P.NEW, P.REQUESTED, P.CANCELLING, P.UNFILLED, P.CANCELLED}:
        facts = {"item_agency": "", "item_barcode": ""}
    if news is News.RECALL_CANCELLED and position not in FINAL:
        facts["recalled_on"] = date(2017, 3, 6)
    request = library.given(position, **facts)
    if position is P.NEW:  # its lender declined while the service rested: nobody is asked
        request = library.store.now(lambda unit: unit.amend(request, library.now, CLERK, **NOBODY_ASKED))
    event = (LENT_SCANS if side is Side.LENDING else SCANS).get(position, "")
    event = "CHECK_IN_HOME" if side is Side.LENDING and position is P.CLOSED else event
    if event:
        library.store.now(lambda unit: unit.note(request, event, {}, hkt(SCANNED), TERMINAL))
    return request


def given_another(library: DeskWorld, side: Side) -> Request:
    """Another loan of the same partner, whose copy a report with differing names has beside the number of the first."""
    if side is Side.LENDING:
        return library.given(P.AT_BORROWER, side=side, item_barcode="K8", wire_id="c-2", title="Emma", bib_id="emma")
    library.add_copies([Holding(agency="CUHK", barcode="C2", bib_id="emma", title="Emma")])
    return library.lent_out(patron="UG2", title="Emma", bib_id="emma", item_barcode="C2", wire_id="R2-1")


def tell(library: DeskWorld, request: Request, news: News, at: datetime | None, named: ItemKey | None = None) -> Any:
    by = Actor(who="CUHK", channel="ncip", message=news.value)
    if news in REPORTS:
        return library.ask(
            library.circulation.execute(CopyReport(by=by, command=REPORTS[news], item=K9, partner="CUHK", reason="reported"))
        )
    item = named or request.item
    if item is None and news is News.SHIPPED:
        item = C1
    wire = (request.wire_agency, request.wire_id) if request.wire_id else ("HKU", "R1-1")
    ask = PartnerNotice(
        by=by,
        partner="CUHK",
        wire_agency=wire[0],
        wire_id=wire[1],
        item=item,
        at=at,
        due=date(2017, 4, 20),
        due_is="asked",
    )
    return library.ask(library.circulation.execute(sent_as(NEWS_KINDS[METHODS[news]], ask)))


def verdict(library: DeskWorld, before: list[Request], answer: Any) -> Verdict:
    """The visible outcome: the reply, the requests, the flags for staff, a new request."""
    changed = library.count() > len(before)
    for request in before:
        after = library.request(request.id)
        changed = changed or any(getattr(after, name) != getattr(request, name) for name in CHANGES)
    if isinstance(answer, Refused):
        assert not changed
        return Verdict.HELD if answer.why in {Reason.CONTRADICTS_US, Reason.ALREADY_SHIPPED} else Verdict.REFUSED
    return Verdict.APPLIED if changed else Verdict.IGNORED


ROWS = [pytest.param(*row, id="-".join(row)) for row in TABLE]


@pytest.mark.parametrize(("side", "position", "news", "when", "names"), ROWS)
def test_notification_is_handled_as_its_table_row_says(
    library: DeskWorld, side: Side, position: Position, news: News, when: Dated, names: Names
) -> None:
    library.go_to("2017-03-10 10:00")
    before = [given(library, side, position, news)]
    if names is Names.DIFFER:
        before.append(given_another(library, side))

    answer = tell(library, before[0], news, hkt(NEWS_AT[when]), before[-1].item)

    assert verdict(library, before, answer) is TABLE[side, position, news, when, names]


def test_table_covers_every_notification_in_every_position() -> None:
    lent = [news for news in News if news in {*list(News)[6:]}]
    borrowed = [news for news in News if news not in lent]
    expected = {(Side.BORROWING, p, n) for p in set(P) - LENDING | {P.RETURN_TRANSIT, P.CLOSED} for n in borrowed}
    expected |= {(Side.LENDING, p, n) for p in LENDING for n in lent}
    assert {row[:3] for row in TABLE} == expected
    with_number = {row for row in expected if row[2] not in REPORTS}
    assert len(TABLE) == (len(expected) + len(with_number)) * len(Dated)


HELD = [row for row, said in TABLE.items() if said is Verdict.HELD]


@pytest.mark.parametrize(("side", "position", "news", "when", "names"), HELD, ids=["-".join(row) for row in HELD])
def test_held_notification_is_journalled_with_both_versions(
    library: DeskWorld, side: Side, position: Position, news: News, when: Dated, names: Names
) -> None:
    library.go_to("2017-03-10 10:00")
    before = [given(library, side, position, news)]
    if names is Names.DIFFER:
        before.append(given_another(library, side))

    tell(library, before[0], news, hkt(NEWS_AT[when]), before[-1].item)

    detail = library.journal()[-1]["detail"]
    assert news.value in detail
    assert NEWS_AT[when][:10] in detail
    shown = [request for request in before if request.position.value in detail]
    assert shown
    flags = [library.request(request.id).flags for request in shown if request.position not in FINAL]
    assert any(flags) is bool(flags)


@pytest.mark.parametrize("position", [P.RECEIVED, P.ON_LOAN])
def test_returned_notification_confirmed_by_staff_closes_the_request(library: DeskWorld, position: Position) -> None:
    before = given(library, Side.BORROWING, position, News.HOME)
    ask = replace(library.heard(), at=hkt("2017-03-09 10:00"), judged=True)

    library.ask(library.circulation.execute(sent_as(ItemReceived, ask)))

    assert library.request(before.id).position is P.CLOSED


# ---- the copy of another request


def two_requests(library: DeskWorld) -> tuple[Request, Request]:
    """R1 waits for Dune, item CUHK:C1; R2 of another patron waits for another title, item CUHK:C2."""
    library.add_copies([Holding(agency="CUHK", barcode="C2", bib_id="emma", title="Emma")])
    first = library.given(P.REQUESTED)
    library.wish("UG2", "emma", "d-2")
    second = library.request("R2")
    assert second.position is P.REQUESTED
    return first, second


def test_shipment_naming_the_item_of_another_request_is_held(library: DeskWorld) -> None:
    first, second = two_requests(library)

    answer = library.ask(
        library.circulation.execute(sent_as(ItemShipped, library.heard(item=ItemKey("CUHK", "C2"), **ours(first))))
    )

    assert answer.why is Reason.CONTRADICTS_US
    assert (library.request(first.id).position, library.request(first.id).flags) == (P.REQUESTED, "contradicted")
    assert library.request(second.id) == second
    library.ask(library.circulation.execute(sent_as(ItemShipped, library.heard(item=ItemKey("CUHK", "C2"), **ours(second)))))
    assert library.check_in("C2").held_for == "UG2"


def ours(request: Request) -> dict[str, str]:
    return {"wire_agency": request.wire_agency, "wire_id": request.wire_id}


def test_shipment_of_another_item_of_the_title_is_applied(library: DeskWorld) -> None:
    library.add_copies([Holding(agency="CUHK", barcode="C2", bib_id="dune", title="Dune")])
    first = library.given(P.REQUESTED)

    library.ask(library.circulation.execute(sent_as(ItemShipped, library.heard(item=ItemKey("CUHK", "C2"), **ours(first)))))

    assert library.request(first.id).item == ItemKey("CUHK", "C2")


@pytest.mark.parametrize("method", ["recalled", "recall_cancelled", "renewed", "request_cancelled"])
def test_notification_naming_the_item_of_another_request_is_held(library: DeskWorld, method: str) -> None:
    first, _second = two_requests(library)
    ask = library.heard(item=ItemKey("CUHK", "C2"), due=date(2017, 4, 1), **ours(first))

    answer = library.ask(library.circulation.execute(sent_as(NEWS_KINDS[method], ask)))

    assert answer.why is Reason.CONTRADICTS_US
    assert library.request(first.id).recalled_on is None


@pytest.mark.parametrize("method", ["shipped", "received", "request_cancelled", "renewed"])
@pytest.mark.parametrize("item", [ItemKey("HKU", "K8"), C1])
def test_notification_of_a_borrower_naming_the_item_of_another_request_is_held(
    library: DeskWorld, method: str, item: ItemKey
) -> None:
    lent = library.given(P.PAGED, side=Side.LENDING)
    library.given(P.SHIPPED, side=Side.LENDING, item_barcode="K8", wire_id="c-2")
    library.given(P.IN_TRANSIT)
    ask = library.heard(item=item, wire_agency="CUHK", wire_id="c-1")

    answer = library.ask(library.circulation.execute(sent_as(NEWS_KINDS[method], ask)))

    assert answer.why is Reason.CONTRADICTS_US
    assert library.request(lent.id).position is P.PAGED


def test_repetition_of_a_held_notification_is_not_applied(library: DeskWorld) -> None:
    before = given(library, Side.BORROWING, P.RECEIVED, News.HOME)
    for _ in range(3):
        tell(library, before, News.HOME, hkt(NEWS_AT[Dated.LATER]))
    flagged = library.request(before.id)
    assert (flagged.position, flagged.flags) == (P.RECEIVED, "contradicted")


def test_broker_request_is_held_only_after_a_local_scan(library: DeskWorld) -> None:
    received = library.given(P.RECEIVED, kind="brokered")
    library.store.now(lambda unit: unit.note(received, "ARRIVE", {}, library.now, CLERK))
    assert library.ask(library.circulation.execute(sent_as(ItemReceived, library.heard()))).why is Reason.CONTRADICTS_US

    library.given(P.RECEIVED, kind="brokered", item_barcode="C2", wire_id="R2-1")
    library.ask(library.circulation.execute(sent_as(ItemReceived, library.heard(item=ItemKey("CUHK", "C2")))))
    assert library.request("R2").position is P.CLOSED
