"""What a partner says is compared before it is believed: names, dates and copies, in every service."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.circulation.partner_notice import ItemCheckedIn, ItemRenewed, ItemShipped
from hkall_gateway.circulation.partners.broker_services import BrokerCommand
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.returning import Arrival
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Holding, ItemKey, Position, Request, Side
from tests.circulation.conftest import CLERK, NEWS_KINDS, TERMINAL, hkt, sent_as

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
C1, C2 = ItemKey("CUHK", "C1"), ItemKey("CUHK", "C2")


def say(library: DeskWorld, kind: Any, **facts: Any) -> Any:
    return library.ask(library.circulation.execute(sent_as(kind, library.heard(**facts))))


def ship(library: DeskWorld, request: Request, at: str) -> None:
    """Let CUHK ship C1 for a request, dated as given."""
    say(library, ItemShipped, wire_agency="HKU", wire_id=request.wire_id, at=hkt(at))


def ask_dune(library: DeskWorld, card: str = "UG1") -> Request:
    """Place a request for Dune, whose first lender is CUHK."""
    made = library.wish(card, "dune", f"d-{library.count() + 1}")
    return library.request(made.request)


# ---- older than its own shipment


@pytest.mark.parametrize(
    ("said_at", "moves"), [("2017-03-03 23:00", False), ("2017-03-04 00:30", True), ("2017-03-05 10:00", True)]
)
def test_check_in_older_than_the_shipment_is_old_news(library: DeskWorld, said_at: str, moves: bool) -> None:
    request = ask_dune(library)
    library.go_to("2017-03-05 12:00")
    ship(library, request, "2017-03-04 11:00")
    answer = say(library, ItemCheckedIn, at=hkt(said_at))
    assert not isinstance(answer, Refused)
    assert (library.request(request.id).position is P.IN_TRANSIT) is (not moves)
    assert moves or answer.late


@pytest.mark.parametrize("method", ["recalled", "recall_cancelled", "renewed"])
def test_other_news_older_than_the_shipment_changes_nothing(library: DeskWorld, method: str) -> None:
    request = ask_dune(library)
    library.go_to("2017-03-05 12:00")
    ship(library, request, "2017-03-04 11:00")
    before = library.request(request.id)
    answer = say(library, NEWS_KINDS[method], at=hkt("2017-03-02 10:00"), due=date(2017, 5, 1))
    assert not isinstance(answer, Refused)
    assert library.request(request.id) == before


def test_copy_that_arrives_although_it_was_never_sent_is_offered_to_its_reader(library: DeskWorld) -> None:
    request = ask_dune(library)
    ship(library, request, "2017-03-01 11:00")
    library.go_to("2017-03-02 12:00")
    say(library, ItemCheckedIn, at=hkt("2017-03-02 11:00"))  # "never sent": HKUST is asked, which has none either
    say(library, NEWS_KINDS["request_cancelled"], partner="HKUST", item=None, **ours(library.request(request.id)))
    assert library.request(request.id).position is P.UNFILLED

    library.go_to("2017-03-03 12:00")
    arrived = library.check_in("C1")

    assert (arrived.what, arrived.held_for) == (Arrival.RECEIVED, "UG1")
    again = library.request(arrived.request)
    assert (again.reopened_from, again.item, again.partner, again.position) == (request.id, C1, "CUHK", P.RECEIVED)
    assert library.letters(Notification.LETTER_PICKUP) == 1


def ours(request: Request) -> dict[str, str]:
    return {"wire_agency": request.wire_agency, "wire_id": request.wire_id}


# ---- names that do not agree


def two_loans(library: DeskWorld) -> tuple[Request, Request]:
    """R1 has C1 of CUHK and R2 has C2 of CUHK, both on loan and scanned by us."""
    library.add_copies([Holding(agency="CUHK", barcode="C2", bib_id="emma", title="Emma")])
    first = library.lent_out(lender_due=date(2017, 4, 1))
    second = library.lent_out(
        patron="UG2", title="Emma", bib_id="emma", item_barcode="C2", wire_id="R2-1", lender_due=date(2017, 4, 1)
    )
    return first, second


@pytest.mark.parametrize("method", ["recalled", "recall_cancelled", "renewed", "checked_in", "received", "shipped"])
def test_number_of_one_loan_with_the_copy_of_another_is_held(library: DeskWorld, method: str) -> None:
    first, second = two_loans(library)
    answer = say(library, NEWS_KINDS[method], item=C2, due=date(2017, 3, 20), at=library.now, **ours(first))
    assert isinstance(answer, Refused)
    assert answer.why is Reason.CONTRADICTS_US
    after = (library.request(first.id), library.request(second.id))
    assert [replace(request, flags="") for request in after] == [first, second]
    assert any(request.flags for request in after)


@pytest.mark.parametrize("service", ["check_in", "check_out", "renew"])
def test_broker_naming_one_request_and_the_copy_of_another_is_held(library: DeskWorld, service: str) -> None:
    lent = library.given(P.SHIPPED, side=Side.LENDING)
    other = library.given(P.SHIPPED, side=Side.LENDING, item_barcode="K8", wire_id="c-2")
    by = Actor(who="CUHK", channel="ncip", message=service)
    command = BrokerCommand(
        by=by, partner="CUHK", wire_agency="CUHK", wire_id="c-1", barcode="K8", agency="HKU", service=service
    )
    answer = library.ask(library.circulation.execute(command))
    assert isinstance(answer, Refused)
    assert answer.why is Reason.CONTRADICTS_US
    assert [library.request(one.id).position for one in (lent, other)] == [P.SHIPPED, P.SHIPPED]


def test_shipment_under_the_number_of_an_ended_request_is_held_while_another_has_the_copy(library: DeskWorld) -> None:
    ended = ask_dune(library)
    say(library, NEWS_KINDS["request_cancelled"], **ours(ended))
    say(library, NEWS_KINDS["request_cancelled"], partner="HKUST", item=None, **ours(library.request(ended.id)))
    coming = ask_dune(library, "UG2")
    ship(library, coming, "2017-03-01 11:00")
    answer = say(library, ItemShipped, at=library.now, **ours(ended))
    assert isinstance(answer, Refused)
    assert (answer.why, answer.held) == (Reason.CONTRADICTS_US, True)
    assert library.count() == 2


def test_shipment_that_names_no_copy_leaves_the_request_that_has_it(library: DeskWorld) -> None:
    ended = ask_dune(library)
    say(library, NEWS_KINDS["request_cancelled"], **ours(ended))
    say(library, NEWS_KINDS["request_cancelled"], partner="HKUST", item=None, **ours(library.request(ended.id)))
    holder = library.given(P.RECEIVED, patron="UG2", wire_id="R2-1", unannounced=True)
    answer = say(library, ItemShipped, item=None, at=library.now, due=date(2017, 4, 20), **ours(ended))
    assert not isinstance(answer, Refused)
    assert library.request(holder.id) == holder


def test_late_decline_of_a_copy_that_another_request_has_meanwhile_is_late(library: DeskWorld) -> None:
    ended = ask_dune(library)
    say(library, NEWS_KINDS["request_cancelled"], **ours(ended))
    say(library, NEWS_KINDS["request_cancelled"], partner="HKUST", item=None, **ours(library.request(ended.id)))
    coming = ask_dune(library, "UG2")
    ship(library, coming, "2017-03-01 11:00")
    answer = say(library, NEWS_KINDS["request_cancelled"], at=library.now, **ours(ended))
    assert not isinstance(answer, Refused)
    assert answer.late
    assert library.request(coming.id).flags == ""


# ---- a broker and a copy that is here


def accept(library: DeskWorld, **facts: Any) -> Any:
    by = Actor(who="RESHARE", channel="ncip", message="AcceptItem")
    given = {"partner": "RESHARE", "card": "UG2", "wire_id": "b-1", "barcode": "C1", "agency": "CUHK", **facts}
    return library.ask(library.circulation.execute(BrokerCommand(by=by, service="accept", **given)))


@pytest.mark.parametrize("position", [P.RECEIVED, P.ON_LOAN, P.TO_RETURN])
def test_broker_cannot_accept_a_copy_that_is_here_by_our_scan(library: DeskWorld, position: Position) -> None:
    ours_here = library.lent_out() if position is P.ON_LOAN else library.given(position)
    library.store.now(lambda unit: unit.note(ours_here, "ARRIVE", {}, library.now, TERMINAL))
    answer = accept(library)
    assert isinstance(answer, Refused)
    assert answer.why is Reason.CONTRADICTS_US
    assert library.request(ours_here.id).flags == "contradicted"
    assert library.count() == 1


def test_copy_accepted_from_a_broker_belongs_to_the_agency_that_it_names(library: DeskWorld) -> None:
    accept(library)
    request = library.request("R1")
    assert (request.partner, request.item) == ("RESHARE", C1)
    assert library.check_out("UG2", "C1").card == "UG2"
    by = Actor(who="RESHARE", channel="ncip", message="CheckInItem")
    command = BrokerCommand(by=by, partner="RESHARE", barcode="C1", agency="CUHK", service="check_in")
    assert library.ask(library.circulation.execute(command)).what is Arrival.RETURNED


# ---- dates


def test_due_date_beyond_a_loan_and_a_year_is_kept_aside(library: DeskWorld) -> None:
    library.lent_out(lender_due=date(2017, 4, 1))
    say(library, ItemRenewed, due=date(2126, 4, 1), at=library.now)
    request = library.request()
    assert (request.due, request.lender_due, request.flags) == (date(2017, 3, 16), date(2017, 4, 1), "far_date")
    say(library, ItemRenewed, due=date(2017, 4, 20), at=library.now)
    assert library.request().lender_due == date(2017, 4, 20)


def test_owners_correction_is_believed_while_nobody_relied_on_the_date(library: DeskWorld) -> None:
    request = library.given(P.IN_TRANSIT, lender_due=date(2018, 3, 1))
    say(library, ItemRenewed, due=date(2017, 4, 20), at=library.now)
    assert library.request(request.id).lender_due == date(2017, 4, 20)


# ---- a barcode of our own


def test_shipment_under_a_barcode_of_our_own_is_flagged_and_its_scan_is_ambiguous(library: DeskWorld) -> None:
    request = ask_dune(library)
    answer = say(library, ItemShipped, item=ItemKey("CUHK", "K9"), at=library.now, **ours(request))
    assert not isinstance(answer, Refused)
    assert library.request(request.id).flags == "contradicted"
    assert library.check_in("K9").why is Reason.AMBIGUOUS_ITEM
    assert library.check_in("K9", agency="CUHK").held_for == "UG1"


def test_staff_who_settled_the_flag_receive_the_copy(library: DeskWorld) -> None:
    request = ask_dune(library)
    say(library, ItemShipped, item=ItemKey("CUHK", "K9"), at=library.now, **ours(request))
    shipped = library.request(request.id)
    library.store.now(lambda unit: unit.amend(shipped, library.now, CLERK, flags=""))
    assert library.check_in("K9").held_for == "UG1"
