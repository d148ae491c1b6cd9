"""Staff commands: each runs in the positions that allow it, succeeds when repeated, and records actor and reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest

from hkall_gateway.circulation.borrowing import Requested, RequestTitle
from hkall_gateway.circulation.partner_notice import ItemReceived
from hkall_gateway.circulation.results import Done
from hkall_gateway.circulation.returning import CheckedIn
from hkall_gateway.circulation.staff.actions import STAFF_ACTIONS, Reopen
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.partners import Charges, Partner
from hkall_gateway.rules.positions import FINAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Policy, Return
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Side
from tests.circulation.conftest import sent_as

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
C1, K9 = ItemKey("CUHK", "C1"), ItemKey("HKU", "K9")
CLERK = Actor(who="mei", channel="cli", message="request")
BY_HAND = Policy(return_=Return(announce="on_dispatch"))
LENT = {"side": Side.LENDING, "lender_due": date(2017, 4, 15)}
ON_LOAN = {"first_checkout": date(2017, 2, 20), "due": date(2017, 3, 7), "used": True}


# ---- every deed, as a table


@pytest.mark.parametrize("name", STAFF_ACTIONS)
def test_command_on_an_unknown_request_is_refused(library: DeskWorld, name: str) -> None:
    assert library.act(name, "R404", reason="x").why is Reason.UNKNOWN_REQUEST
    assert library.act(name, "", barcode="C404", reason="x").why is Reason.UNKNOWN_ITEM


@pytest.mark.parametrize("name", [name for name, row in STAFF_ACTIONS.items() if row.needs_reason])
def test_command_without_its_required_reason_is_refused(library: DeskWorld, name: str) -> None:
    before = library.lent_out()

    assert library.act(name, reason=" ", on=date(2017, 4, 1), position=P.CLOSED).why is Reason.REASON_NEEDED
    assert library.request() == before


@pytest.mark.parametrize("side", Side)
@pytest.mark.parametrize("position", sorted(FINAL))
@pytest.mark.parametrize("name", [name for name in STAFF_ACTIONS if name != "force"])
def test_only_force_leaves_a_final_position(library: DeskWorld, name: str, position: Position, side: Side) -> None:
    before = library.given(position, side=side)

    library.act(name, reason="x", on=date(2017, 4, 1))

    assert library.request() == before


DONE: list[tuple[str, Position, dict[str, Any], dict[str, Any], Position]] = [
    # deed            from              facts                       what is said              to
    ("receive", P.IN_TRANSIT, {}, {}, P.RECEIVED),
    ("receive", P.IN_TRANSIT, {"unwanted": True}, {}, P.TO_RETURN),
    ("receive", P.RETURN_TRANSIT, LENT, {}, P.CLOSED),
    ("receive", P.PAGED, LENT, {"reason": "it had left without a word"}, P.CLOSED),
    ("print", P.PAGED, LENT, {}, P.PAGED),
    ("return", P.ON_LOAN, ON_LOAN, {}, P.RETURN_TRANSIT),
    ("return_unused", P.RECEIVED, {}, {}, P.RETURN_TRANSIT),
    ("dispatch", P.TO_RETURN, {}, {}, P.RETURN_TRANSIT),
    ("cancel", P.REQUESTED, {}, {}, P.CANCELLING),
    ("decline", P.PAGED, LENT, {"reason": "not_on_shelf"}, P.DECLINED),
    ("decline", P.SHIPPED, LENT, {"reason": "it never left"}, P.DECLINED),
    ("ship", P.PAGED, LENT, {}, P.SHIPPED),
    ("settle", P.ON_LOAN, {**ON_LOAN, "lost_on": date(2017, 3, 1)}, {"reason": "paid"}, P.CLOSED),
    ("settle", P.AT_BORROWER, {**LENT, "claimed_on": date(2017, 3, 1)}, {"reason": "on our shelf"}, P.CLOSED),
    ("force", P.ON_LOAN, ON_LOAN, {"reason": "stuck", "position": P.CLOSED}, P.CLOSED),
]


@pytest.mark.parametrize(("name", "position", "facts", "said", "after"), DONE)
def test_staff_command_moves_the_request_to_the_expected_position(
    library: DeskWorld, name: str, position: Position, facts: dict[str, Any], said: dict[str, Any], after: Position
) -> None:
    library.given(position, **facts)

    library.act(name, **said)

    assert library.request().position is after
    assert library.journal()[-1]["who"] == "mei"


@pytest.mark.parametrize(
    ("name", "position", "facts", "said"),
    [
        ("return", P.ON_LOAN, ON_LOAN, {}),
        ("return_unused", P.RECEIVED, {}, {}),
        ("dispatch", P.TO_RETURN, {}, {}),
        ("cancel", P.REQUESTED, {}, {}),
        ("decline", P.PAGED, LENT, {"reason": "not_suitable"}),
        ("ship", P.PAGED, LENT, {}),
        ("print", P.PAGED, LENT, {}),
        ("lost", P.ON_LOAN, ON_LOAN, {}),
        ("lost", P.AT_BORROWER, LENT, {}),
        ("damaged", P.ON_LOAN, ON_LOAN, {}),
        ("claim", P.ON_LOAN, ON_LOAN, {}),
        ("claim", P.SHIPPED, LENT, {}),
        ("settle", P.ON_LOAN, {**ON_LOAN, "lost_on": date(2017, 3, 1)}, {"reason": "paid"}),
        ("force", P.ON_LOAN, ON_LOAN, {"reason": "stuck", "position": P.CLOSED}),
    ],
)
def test_repeated_command_succeeds_without_a_change(
    library: DeskWorld, name: str, position: Position, facts: dict[str, Any], said: dict[str, Any]
) -> None:
    library.given(position, **facts)
    library.act(name, **said)
    before = (library.request(), library.told(), library.fines())

    answer = library.act(name, **said)

    assert isinstance(answer, Done)
    assert answer.again
    assert (library.request(), library.told(), library.fines()) == before


ELSEWHERE = [
    ("receive", P.ON_LOAN, ON_LOAN),
    ("substitute", P.SHIPPED, LENT),
    ("print", P.SHIPPED, LENT),
    ("return", P.RECEIVED, {}),
    ("return", P.TO_RETURN, {}),  # from the hold shelf, it was never lent
    ("return_unused", P.ON_LOAN, ON_LOAN),
    ("dispatch", P.ON_LOAN, ON_LOAN),
    ("cancel", P.IN_TRANSIT, {}),
    ("decline", P.AT_BORROWER, LENT),
    ("ship", P.AT_BORROWER, LENT),
    ("lost", P.RECEIVED, {}),
    ("damaged", P.AT_BORROWER, LENT),
    ("claim", P.TO_RETURN, {}),
    ("settle", P.ON_LOAN, ON_LOAN),
    ("extend", P.IN_TRANSIT, {}),
]


@pytest.mark.parametrize(("name", "position", "facts"), ELSEWHERE)
def test_command_is_refused_when_the_position_does_not_allow_it(
    library: DeskWorld, name: str, position: Position, facts: dict[str, Any]
) -> None:
    before = library.given(position, **facts)

    answer = library.act(name, reason="x", on=date(2017, 4, 1))

    assert answer.why in {Reason.WRONG_POSITION, Reason.TOO_LATE_TO_CANCEL}
    assert library.request() == before


def test_reason_of_a_command_is_in_the_journal(library: DeskWorld) -> None:
    library.given(P.REQUESTED)

    library.act("cancel", reason="asked by telephone")

    line = library.journal()[-1]
    assert (line["who"], line["channel"], line["event"], "asked by telephone" in line["detail"]) == (
        "mei",
        "cli",
        "CANCEL",
        True,
    )


# ---- receive what nobody announced


def test_r13_unannounced_item_is_received_and_its_lender_notified(library: DeskWorld) -> None:
    library.given(P.REQUESTED)

    answer = library.act("receive", barcode="C1")

    assert isinstance(answer, CheckedIn)
    assert (library.request().item, library.request().unannounced) == (C1, True)
    assert library.told() == ["CUHK tell_lender_received", "UG1 letter_pickup"]


def test_item_from_a_former_lender_is_received_and_the_current_lender_cancelled(library: DeskWorld) -> None:
    library.given(P.REQUESTED)
    library.go_to("2017-03-06 10:00")
    library.round("silence")
    before = len(library.told())

    library.act("receive", barcode="C1", agency="CUHK")

    assert (library.request().partner, library.request().wire_id) == ("CUHK", "R1-1")
    assert library.told()[before:] == ["HKUST cancel_at_lender", "CUHK tell_lender_received", "UG1 letter_pickup"]


def test_unannounced_item_of_a_cancelled_request_is_returned_without_a_letter(library: DeskWorld) -> None:
    library.given(P.CANCELLING)

    answer = library.act("receive", barcode="C1")

    assert (answer.what, library.request().position) == ("unwanted", P.TO_RETURN)
    assert library.letters(Notification.LETTER_PICKUP) == 0


def test_item_of_a_library_that_was_not_asked_is_refused(library: DeskWorld) -> None:
    library.given(P.REQUESTED)

    assert library.act("receive", barcode="P1", agency="POLYU").why is Reason.AGENCY_NOT_OWNER


def test_item_in_use_by_another_request_is_refused(library: DeskWorld) -> None:
    library.given(P.REQUESTED)
    library.given(P.IN_TRANSIT, wire_id="x")

    assert library.act("receive", barcode="C1").why is Reason.UNKNOWN_ITEM


# ---- return, back-dated


def test_r17_book_drop_return_is_dated_on_the_day_staff_enter(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-17 09:00")

    library.act("return", on=date(2017, 3, 16), reason="in the book drop overnight")

    assert (library.request().returned_on, library.owed()) == (date(2017, 3, 16), 0)


@pytest.mark.parametrize(
    ("on", "reason", "why"),
    [
        (date(2017, 3, 16), "", Reason.REASON_NEEDED),
        (date(2017, 3, 18), "x", Reason.WRONG_DATE),
        (date(2017, 2, 28), "x", Reason.WRONG_DATE),
    ],
)
def test_return_date_is_refused_when_it_is_before_the_loan_in_the_future_or_past_without_a_reason(
    library: DeskWorld, on: date, reason: str, why: Reason
) -> None:
    library.lent_out()
    library.go_to("2017-03-17 09:00")

    assert library.act("return", on=on, reason=reason).why is why
    assert library.request().position is P.ON_LOAN


def test_r16_returned_item_awaits_dispatch_when_dispatch_is_announced_manually(make_library: Callable[..., DeskWorld]) -> None:
    library = make_library(BY_HAND)
    library.lent_out()

    library.act("return")
    assert library.request().position is P.TO_RETURN
    library.act("dispatch")
    assert library.request().position is P.RETURN_TRANSIT


# ---- lost, damaged, claimed


def test_r44_r45_lost_item_is_charged_at_the_owners_price_plus_the_fine_to_date(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-18 10:00")

    answer = library.act("lost", reason="left on a bus")

    assert library.fines() == [("overdue", 400), ("replacement", 30_000), ("processing", 10_000)]
    assert (answer.cents, library.request().lost_on) == (40_400, date(2017, 3, 18))


def test_r45_price_reported_by_the_owner_overrides_its_price_list(library: DeskWorld) -> None:
    library.lent_out()

    library.act("lost", cents=55_000)

    assert library.fines() == [("replacement", 55_000), ("processing", 10_000)]


def test_r41_lost_item_accrues_no_further_fine(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-18 10:00")
    library.act("lost", cents=0)
    library.go_to("2017-04-18 10:00")
    library.check_in()

    assert [fine for fine in library.fines() if fine[0] == "overdue"] == [("overdue", 400)]


def test_r45_item_lost_in_return_transit_is_not_charged_to_the_patron(library: DeskWorld) -> None:
    library.given(P.RETURN_TRANSIT, **ON_LOAN)

    assert library.act("lost").cents == 0
    assert "does not answer for it" in library.act("lost", cents=40_000).note
    assert library.fines() == []


def test_r45_lost_item_of_an_unknown_owner_is_flagged(library: DeskWorld) -> None:
    library.lent_out(partner="GONE")

    library.act("lost")

    assert (library.fines(), library.request().flags) == ([], "owner_unknown no_price:lost")


UNLISTED = (Partner(agency="CUHK", name="Chinese University", charges=Charges(processing_cents=10_000)),)


@pytest.mark.parametrize(
    ("deed", "flag", "kind", "at_once"),
    [("lost", "no_price:lost", "replacement", [("processing", 10_000)]), ("damaged", "no_price:damaged", "damage", [])],
)
def test_r45_unknown_price_is_flagged_and_charged_once_later(
    make_library: Callable[..., DeskWorld], deed: str, flag: str, kind: str, at_once: list[tuple[str, int]]
) -> None:
    library = make_library(partners=UNLISTED)
    library.lent_out()

    first, again = library.act(deed), library.act(deed)

    assert "no price is known" in first.note
    assert (again.again, again.note, library.fines(), library.request().flags) == (True, first.note, at_once, flag)

    priced, twice = library.act(deed, cents=40_000), library.act(deed, cents=50_000)

    assert (priced.cents, priced.note, library.request().flags) == (40_000, "", "")
    assert (twice.again, twice.cents, library.fines()) == (True, 0, [*at_once, (kind, 40_000)])
    assert "nothing more is charged" in twice.note


def test_r45_price_is_charged_even_if_the_flag_was_settled_before(make_library: Callable[..., DeskWorld]) -> None:
    library = make_library(partners=UNLISTED)
    library.lent_out()
    library.act("lost")
    library.act("seen", reason="asked its owner")

    assert library.act("lost", cents=40_000).cents == 40_000


def test_r45_owner_may_charge_nothing(make_library: Callable[..., DeskWorld]) -> None:
    library = make_library(partners=UNLISTED)
    library.lent_out()

    answer = library.act("damaged", cents=0)

    assert (answer.note, library.fines(), library.request().flags) == ("", [], "")


def test_r45_lost_item_that_is_found_needs_no_price(make_library: Callable[..., DeskWorld]) -> None:
    library = make_library(partners=UNLISTED)
    library.lent_out()
    library.act("lost")

    library.check_in()

    assert library.request().flags == ""


@pytest.mark.parametrize("position", [P.TO_RETURN, P.RETURN_TRANSIT])
@pytest.mark.parametrize(("used", "owed"), [(True, 5_000), (False, 0)])
def test_r44_damage_can_be_declared_until_the_item_is_home_and_is_charged_to_its_borrower(
    library: DeskWorld, position: Position, used: bool, owed: int
) -> None:
    library.given(position, **{**ON_LOAN, "used": used})

    assert library.act("damaged", reason="coffee").cents == owed
    assert (library.owed(), library.request().damaged, library.request().position) == (owed, True, position)


@pytest.mark.parametrize(("on", "owed"), [("2017-04-17", 10_000), ("2017-04-18", 40_000)])
def test_r45_charge_is_cancelled_when_a_lost_item_is_found_within_the_owners_period(
    library: DeskWorld, on: str, owed: int
) -> None:
    library.lent_out(on="2017-03-18", days=60)
    library.go_to("2017-03-18 10:00")
    library.act("lost")
    library.go_to(f"{on} 10:00")

    library.check_in()

    assert (library.owed(), library.request().lost_on) == (owed, None)


def test_r45_payment_for_a_lost_item_is_refunded_when_it_is_found(library: DeskWorld) -> None:
    library.lent_out()
    library.act("lost")
    library.pay(40_000)

    library.check_in()

    assert (library.owed(), library.fines()[-1]) == (-30_000, ("refund", -30_000))


def test_r45_damaged_item_is_charged_at_the_owners_price(library: DeskWorld) -> None:
    library.lent_out()

    assert library.act("damaged", reason="coffee").cents == 5_000
    assert (library.fines(), library.request().damaged) == ([("damage", 5_000)], True)


def test_r45_prices_are_kept_per_owner(make_library: Callable[..., DeskWorld]) -> None:
    dear = Partner(agency="CUHK", name="Chinese University", charges=Charges(replacement_cents=50_000))
    library = make_library(partners=(dear,))
    library.lent_out()

    library.act("lost")

    assert library.fines() == [("replacement", 50_000)]


def test_r41_claimed_return_stops_the_fine_on_the_claimed_day(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-25 10:00")
    library.act("claim", on=date(2017, 3, 18), reason="says so")
    library.go_to("2017-04-10 10:00")

    assert library.check_in().fine_cents == 400
    assert library.request().claimed_on is None


def test_claimed_item_found_by_its_owner_is_closed_with_the_fine_up_to_the_claim(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-25 10:00")
    library.act("claim", on=date(2017, 3, 18))

    library.ask(library.circulation.execute(sent_as(ItemReceived, library.heard())))

    assert (library.request().position, library.owed()) == (P.CLOSED, 400)


def test_lost_item_of_ours_is_marked_lost_in_the_catalogue(library: DeskWorld) -> None:
    library.given(P.AT_BORROWER, **LENT)

    library.act("lost")

    assert library.status(K9) == "Lost"


@pytest.mark.parametrize(
    ("reason", "status"),
    [("not_on_shelf", "Missing"), ("checked_out_locally", "On Loan"), ("not_suitable", "Available On Shelf")],
)
def test_r37_decline_updates_the_item_status(library: DeskWorld, reason: str, status: str) -> None:
    library.given(P.PAGED, **LENT)

    library.act("decline", reason=reason)

    assert (library.status(K9), library.message().reason) == (status, reason)


# ---- place, reopen, extend, force


def test_r11a_staff_may_place_a_duplicate_request(library: DeskWorld) -> None:
    library.wish()

    answer = library.ask(library.circulation.execute(RequestTitle(by=CLERK, patron="UG1", bib_id="dune", staff=True)))

    assert answer == Requested(request="R2", patron="UG1", placed_by="", placed_id="", bib_id="dune")


def test_ended_request_is_reopened_as_a_new_request(library: DeskWorld) -> None:
    before = library.given(P.UNFILLED)

    library.ask(library.circulation.execute(Reopen(by=CLERK, request="R1", reason="a copy came back")))

    assert (library.request("R2").position, library.request("R2").reopened_from) == (P.REQUESTED, "R1")
    assert library.request("R1") == before


@pytest.mark.parametrize(
    ("position", "facts", "reason", "why"),
    [
        (P.REQUESTED, {}, "x", Reason.WRONG_POSITION),
        (P.CLOSED, LENT, "x", Reason.WRONG_POSITION),
        (P.UNFILLED, {}, "", Reason.REASON_NEEDED),
        (P.UNFILLED, {"patron": "NOBODY"}, "x", Reason.UNKNOWN_BORROWER),
    ],
)
def test_request_that_cannot_be_reopened_is_refused(
    library: DeskWorld, position: Position, facts: dict[str, Any], reason: str, why: Reason
) -> None:
    library.given(position, **facts)

    assert library.ask(library.circulation.execute(Reopen(by=CLERK, request="R1", reason=reason))).why is why


def test_r14_staff_may_extend_the_pickup_period(library: DeskWorld) -> None:
    library.given(P.RECEIVED, pickup_last=date(2017, 3, 1), expired_pickup=True)

    library.act("extend", on=date(2017, 3, 20), reason="typhoon")

    assert (library.request().pickup_last, library.request().expired_pickup) == (date(2017, 3, 20), False)


def test_staff_may_change_a_due_date_without_a_renewal_or_a_fine(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-20 10:00")

    library.act("extend", on=date(2017, 4, 1), reason="closed for a typhoon")

    assert (library.request().due, library.request().renewals, library.owed()) == (date(2017, 4, 1), 0, 0)


@pytest.mark.parametrize("on", [None, date(2017, 3, 15), date(2017, 2, 1)])
def test_extension_never_shortens_a_period(library: DeskWorld, on: date | None) -> None:
    library.lent_out()

    assert library.act("extend", on=on, reason="x").why is Reason.WRONG_DATE


def test_r11_staff_may_extend_the_time_limit_of_a_lender(library: DeskWorld) -> None:
    library.given(P.REQUESTED)
    library.go_to("2017-03-06 10:00")

    library.act("extend", reason="they telephoned")

    assert library.round("silence") == 0


def test_force_sends_no_message_and_is_marked_in_the_journal(library: DeskWorld) -> None:
    library.given(P.CLOSED, **ON_LOAN)

    library.act("force", position=P.ON_LOAN, reason="closed by mistake")

    assert (library.request().position, library.told()) == (P.ON_LOAN, [])
    assert [library.journal()[-1][key] for key in ("event", "who", "source", "target")] == ["FORCE", "mei", "CLOSED", "ON_LOAN"]


@pytest.mark.parametrize(
    ("position", "facts", "to"),
    [(P.ON_LOAN, ON_LOAN, P.SHIPPED), (P.AT_BORROWER, LENT, P.ON_LOAN), (P.ON_LOAN, ON_LOAN, None)],
)
def test_force_accepts_only_positions_of_the_requests_side(
    library: DeskWorld, position: Position, facts: dict[str, Any], to: Position | None
) -> None:
    library.given(position, **facts)

    assert library.act("force", position=to, reason="x").why is Reason.WRONG_POSITION


def test_force_never_assigns_one_item_to_two_requests(library: DeskWorld) -> None:
    ended = library.given(P.CLOSED)
    library.lent_out(wire_id="w-2")

    assert library.act("force", ended.id, position=P.ON_LOAN, reason="x").why is Reason.WRONG_POSITION


def test_barcode_used_by_two_libraries_requires_the_library(library: DeskWorld) -> None:
    library.lent_out()
    library.lent_out(item_agency="POLYU", partner="POLYU", wire_id="w-2")

    assert library.act("lost", "", barcode="C1").why is Reason.AMBIGUOUS_ITEM
    assert library.act("lost", "", barcode="C1", agency="POLYU").request == "R2"


def test_command_applies_to_the_named_item(library: DeskWorld) -> None:
    loan = library.lent_out()

    answer = library.act("damaged", "", barcode="C1")

    assert answer == replace(answer, request=loan.id, item=C1, title="Dune")
