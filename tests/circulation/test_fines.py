"""Fines and payments: charged, shown, paid once, waived with a reason, and blocks by threshold (R2, R40, R41, R45)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hkall_gateway.circulation.borrowers import patron_blocks
from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.fines import Paid, Pay, Refund, Refunded, Waive, Waived
from hkall_gateway.circulation.queries import SeePatron
from hkall_gateway.circulation.results import Refused
from hkall_gateway.db.fines import waive_charge
from hkall_gateway.db.loads.former_cards import replace_cards
from hkall_gateway.rules.eligibility import NO_BLOCKS
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.settings import Block, Policy, Renewal
from hkall_gateway.rules.vocabulary import Actor, LostRace, Position
from tests.examples import example_count

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld

P = Position
Make = Callable[..., "DeskWorld"]
BOX = Actor(who="kiosk-1", channel="sip2", message="37")
CLERK = Actor(who="mei", channel="cli", message="waive")


def late(library: DeskWorld, number: int, days: int) -> None:
    """A loan returned `days` late at HK$2 a day."""
    copy = f"C{number}"
    library.go_to("2017-03-01 10:00")
    library.lent_out(item_barcode=copy, wire_id=copy)
    library.go_to(f"2017-03-{16 + days} 10:00")
    library.check_in(copy)


def pay(library: DeskWorld, cents: int, transaction: str = "", **more: Any) -> Any:
    return library.ask(
        library.circulation.execute(Pay(**{"by": BOX, "card": "UG1", "cents": cents, "transaction_id": transaction, **more}))
    )


def waive(library: DeskWorld, fine: int, reason: str = "ill", cents: int | None = None) -> Any:
    return library.ask(library.circulation.execute(Waive(by=CLERK, fine=fine, reason=reason, cents=cents)))


def see(library: DeskWorld, card: str = "UG1") -> Any:
    return library.ask(library.circulation.execute(SeePatron(by=CLERK, card=card)))


def left(library: DeskWorld) -> list[int]:
    return [one.left_cents for one in library.store.now(lambda unit: unit.patrons.charges("UG1"))]


# ---- assessed


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("2017-03-16 23:59:59", 0),
        ("2017-03-17 00:00:01", 200),
        ("2017-03-19 10:00:00", 600),
    ],
)
def test_r40_fine_is_two_dollars_per_hong_kong_civil_day(library: DeskWorld, text: str, cents: int) -> None:
    library.lent_out()
    library.go_to(text)

    assert library.check_in().fine_cents == cents
    assert library.owed() == cents


def test_r40_three_books_three_days_late_cost_eighteen_dollars(library: DeskWorld) -> None:
    for number in range(3):
        late(library, number, 3)

    assert library.owed() == 1800


def test_r41_fine_for_a_recalled_item_is_four_dollars_per_day(library: DeskWorld) -> None:
    library.lent_out(recalled_on=date(2017, 3, 4))
    library.go_to("2017-03-19 10:00")

    assert library.check_in().fine_cents == 1200


def test_r40_overdue_renewal_by_staff_charges_the_days_so_far(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-20 10:00")

    answer = library.renew("", staff=True)

    assert (answer.fine_cents, answer.due) == (800, date(2017, 4, 4))
    assert library.fines() == [("overdue", 800)]


def test_r40_after_an_overdue_renewal_only_days_past_the_new_due_date_are_added(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-20 10:00")
    library.renew("", staff=True)
    library.go_to("2017-04-06 10:00")
    library.check_in()

    assert library.fines() == [("overdue", 800), ("overdue", 400)]


def test_r40_renewal_before_the_due_date_is_not_charged(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-16 10:00")

    assert library.renew().fine_cents == 0
    assert library.fines() == []


def test_undone_return_is_not_charged_twice(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-18 10:00")
    library.check_in()
    library.check_in(undo=True)
    library.go_to("2017-03-19 10:00")
    library.check_in()

    assert library.fines() == [("overdue", 400), ("overdue", 200)]


def test_every_charge_is_journalled(library: DeskWorld) -> None:
    late(library, 1, 2)

    assert [(line["event"], line["rule"]) for line in library.journal() if line["event"] == "CHARGE"] == [("CHARGE", "R40")]


# ---- shown


def test_patron_record_shows_each_charge_with_its_item(library: DeskWorld) -> None:
    late(library, 1, 2)

    seen = see(library)

    assert seen.owed_cents == 400
    assert [(one.request, one.kind, one.title, one.left_cents) for one in seen.charges] == [("R1", "overdue", "Dune", 400)]


def test_paid_charges_are_no_longer_shown(library: DeskWorld) -> None:
    late(library, 1, 2)
    pay(library, 400)

    assert (see(library).owed_cents, see(library).charges) == (0, ())


def test_loan_shows_its_fine_to_date_without_earlier_charges(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-18 10:00")
    assert see(library).lines[0].fine_cents == 400
    library.act("lost", cents=0)

    assert see(library).lines[0].fine_cents == 0


# ---- paid


def test_r40_payment_settles_the_oldest_charge_first(library: DeskWorld) -> None:
    for number, days in enumerate([1, 2, 3]):
        late(library, number, days)

    answer = pay(library, 400)

    assert answer == Paid(card="UG1", cents=400, owed_cents=800)
    assert left(library) == [0, 200, 600]


def test_payment_may_name_one_charge(library: DeskWorld) -> None:
    late(library, 1, 2)
    late(library, 2, 3)

    pay(library, 500, fine=2)

    assert left(library) == [400, 100]


def test_repeated_transaction_id_from_one_device_is_recorded_once(library_on_each: DeskWorld) -> None:
    library = library_on_each
    late(library, 1, 3)
    first = pay(library, 200, "BK1")

    again = pay(library, 200, "BK1")

    assert again == replace(first, again=True)
    assert library.owed() == 400


def test_same_transaction_id_with_another_amount_is_refused(library: DeskWorld) -> None:
    late(library, 1, 3)
    pay(library, 200, "BK1")

    assert pay(library, 400, "BK1").why is Reason.TRANSACTION_REUSED
    assert library.owed() == 400


def test_two_devices_may_use_the_same_transaction_id(library: DeskWorld) -> None:
    late(library, 1, 3)
    pay(library, 200, "BK1")

    pay(library, 200, "BK1", by=Actor(who="kiosk-2", channel="sip2", message="37"))

    assert library.owed() == 200


def test_payments_without_a_transaction_id_are_all_recorded(library: DeskWorld) -> None:
    late(library, 1, 3)
    pay(library, 200)
    pay(library, 200)

    assert library.owed() == 200


def test_payment_repeated_after_a_card_replacement_is_recorded_once(library: DeskWorld) -> None:
    late(library, 1, 3)
    pay(library, 200, "BK1")
    library.store.now(replace_cards, {"UG1": "UG1-NEW"}, library.now, CLERK)

    assert pay(library, 200, "BK1").again
    assert pay(library, 200, "BK2").why is Reason.CARD_REPLACED
    assert pay(library, 400, "BK3", card="UG1-NEW").cents == 400


@pytest.mark.parametrize("cents", [0, -1, 601, 1_000_000])
def test_payment_of_zero_or_above_the_balance_is_refused(library: DeskWorld, cents: int) -> None:
    late(library, 1, 3)

    answer = pay(library, cents, "BK1")

    assert (answer.why, answer.detail) == (Reason.NOT_OWED, {"owed": "6.00"})
    assert library.owed() == 600


@pytest.mark.parametrize(
    ("more", "why"),
    [({"fine": 99}, Reason.UNKNOWN_FINE), ({"currency": "USD"}, Reason.NOT_SUPPORTED), ({"card": "UG2"}, Reason.NOT_OWED)],
)
def test_payment_that_matches_no_charge_is_refused(library: DeskWorld, more: dict[str, Any], why: Reason) -> None:
    late(library, 1, 3)

    assert pay(library, 200, **more).why is why


def test_charge_of_another_patron_cannot_be_paid(library: DeskWorld) -> None:
    late(library, 1, 3)

    assert pay(library, 200, card="UG2", fine=1).why is Reason.UNKNOWN_FINE


@given(sums=st.lists(st.integers(-100, 900), max_size=6))
@settings(max_examples=example_count(25), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_payments_never_exceed_charges_and_are_counted_once(make_library: Make, sums: list[int]) -> None:
    library = make_library()
    late(library, 1, 3)
    late(library, 2, 1)

    taken = [answer.cents for number, cents in enumerate(sums) if isinstance(answer := pay(library, cents, f"{number}"), Paid)]

    assert library.owed() == 800 - sum(taken) >= 0
    assert all(cents >= 0 for cents in left(library))


# ---- waived


def test_waiver_is_journalled_with_its_reason(library: DeskWorld) -> None:
    late(library, 1, 3)

    assert waive(library, 1) == Waived(fine=1, cents=600, owed_cents=0)
    line = library.journal()[-1]
    assert (line["event"], line["who"], '"because":"ill"' in line["detail"]) == ("WAIVE", "mei", True)


def test_charge_may_be_waived_in_part(library: DeskWorld) -> None:
    late(library, 1, 3)

    assert waive(library, 1, cents=250) == Waived(fine=1, cents=250, owed_cents=350)


def test_charge_that_another_unit_has_changed_is_not_waived_twice(library: DeskWorld) -> None:
    """A check-in of a book that is found again locks no card, so staff may waive its charge just then."""
    late(library, 1, 3)
    (before,) = library.store.now(lambda unit: unit.patrons.charges("UG1"))
    waive(library, before.id)
    with pytest.raises(LostRace):
        library.store.now(lambda unit: waive_charge(unit, before, before.left_cents, "found again", library.now, CLERK))
    assert left(library) == [0]


def test_repeated_waiver_succeeds(library: DeskWorld) -> None:
    late(library, 1, 3)
    waive(library, 1)

    assert waive(library, 1) == Waived(fine=1, cents=0, owed_cents=0, again=True)


@pytest.mark.parametrize(
    ("fine", "reason", "cents", "why"),
    [(99, "ill", None, Reason.UNKNOWN_FINE), (1, " ", None, Reason.REASON_NEEDED), (1, "ill", 601, Reason.NOT_OWED)],
)
def test_invalid_waiver_is_refused(library: DeskWorld, fine: int, reason: str, cents: int | None, why: Reason) -> None:
    late(library, 1, 3)

    assert waive(library, fine, reason, cents).why is why
    assert library.owed() == 600


# ---- R2: our own thresholds


DEBT, RECALLED, LONG = (
    Policy(block=block) for block in (Block(max_debt_cents=400), Block(on_overdue_recall=True), Block(max_long_overdue=0))
)


def in_debt(library: DeskWorld) -> None:
    late(library, 7, 3)


def keeping_a_recalled_book(library: DeskWorld) -> None:
    library.lent_out(item_barcode="C7", recalled_on=date(2017, 3, 4))
    library.go_to("2017-03-17 10:00")


def keeping_a_book_for_long(library: DeskWorld) -> None:
    library.lent_out(on="2017-01-30", item_barcode="C7")
    library.go_to("2017-03-16 10:00")


BARRED = pytest.mark.parametrize(
    ("policy", "prepare"),
    [(DEBT, in_debt), (RECALLED, keeping_a_recalled_book), (LONG, keeping_a_book_for_long)],
    ids=["debt", "overdue recall", "long overdue"],
)


def test_r2_patron_who_owes_reads_the_sum(make_library: Make) -> None:
    library = make_library(DEBT)
    in_debt(library)

    refused = library.wish(bib="solaris")

    assert refused.why.patron[0].format(**refused.detail) == (
        "You owe HKD 6.00. From more than HKD 4.00 on, your card is blocked until you pay."
    )


def _switched_on() -> list[Block]:
    """One policy for each option of a block that is off by default."""
    values: dict[object, Any] = {None: 1, False: True}
    switches = [option for option in fields(Block) if option.default in values]
    return [replace(Block(), **{option.name: values[option.default]}) for option in switches]


@pytest.mark.parametrize("block", _switched_on(), ids=str)
def test_every_block_is_in_force_once_it_is_switched_on(make_library: Make, block: Block) -> None:
    library = make_library(Policy(block=block))
    in_debt(library)
    assert library.store.now(in_context(patron_blocks, library.circulation.library, library.now, "UG1")) != NO_BLOCKS


@BARRED
def test_r2_requests_are_refused_above_the_threshold(
    make_library: Make, policy: Policy, prepare: Callable[[DeskWorld], None]
) -> None:
    library = make_library(policy)
    prepare(library)

    assert library.wish(bib="solaris").why in {Reason.PATRON_BLOCKED, Reason.PATRON_OWES}


@BARRED
def test_r2_checkouts_are_refused_above_the_threshold(
    make_library: Make, policy: Policy, prepare: Callable[[DeskWorld], None]
) -> None:
    library = make_library(policy)
    prepare(library)
    library.given(P.RECEIVED, pickup_last=date(2017, 4, 1))

    assert library.check_out().why in {Reason.PATRON_BLOCKED, Reason.PATRON_OWES}


@BARRED
def test_r2_block_is_shown_in_the_patron_record(
    make_library: Make, policy: Policy, prepare: Callable[[DeskWorld], None]
) -> None:
    library = make_library(policy)
    prepare(library)

    assert not see(library).valid
    assert see(library).refusal.why in {Reason.PATRON_BLOCKED, Reason.PATRON_OWES}
    assert see(library, "UG2").valid


@pytest.mark.parametrize("prepare", [in_debt, keeping_a_recalled_book, keeping_a_book_for_long])
def test_r2_patron_is_not_blocked_without_thresholds(library: DeskWorld, prepare: Callable[[DeskWorld], None]) -> None:
    prepare(library)

    assert see(library).valid


def test_r2_patron_is_not_blocked_at_the_threshold(make_library: Make) -> None:
    library = make_library(DEBT)
    late(library, 1, 2)

    assert see(library).valid


def test_r2_lost_item_does_not_count_as_long_overdue(make_library: Make) -> None:
    library = make_library(LONG)
    keeping_a_book_for_long(library)
    library.act("lost", cents=0)

    assert see(library).valid


def test_r29_overdue_renewal_is_charged_when_the_policy_permits_it(make_library: Make) -> None:
    library = make_library(Policy(renewal=Renewal(overdue="allow")))
    library.lent_out()
    library.go_to("2017-03-18 10:00")

    assert library.renew().fine_cents == 400


def test_refused_overdue_renewal_is_not_charged(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to("2017-03-18 10:00")

    assert isinstance(library.renew(), Refused)
    assert library.fines() == []


# ---- given back


def give_back(library: DeskWorld, cents: int, transaction: str = "", by: Actor = BOX) -> Any:
    return library.ask(library.circulation.execute(Refund(by=by, card="UG1", cents=cents, transaction_id=transaction)))


def found_after_payment(library: DeskWorld) -> Any:
    """A book that was lost, paid for with HK$300 and a fee, and found again."""
    library.lent_out()
    library.act("lost")
    library.pay(40_000)
    return library.check_in()


def test_r45_check_in_of_a_book_that_was_lost_and_paid_says_what_we_owe(library: DeskWorld) -> None:
    taken = found_after_payment(library)

    assert (taken.was_lost, taken.paid_cents, taken.refund_cents) == (True, 30_000, 30_000)


def test_r45_refund_that_we_owe_does_not_hide_a_later_fine(library: DeskWorld) -> None:
    found_after_payment(library)
    late(library, 2, 4)

    seen = see(library)

    assert (seen.owed_cents, seen.credit_cents) == (800, 30_000)
    assert pay(library, 800) == Paid(card="UG1", cents=800, owed_cents=0)
    assert see(library).credit_cents == 30_000


def test_r45_refund_is_given_in_parts_and_once_for_each_transaction(library: DeskWorld) -> None:
    found_after_payment(library)

    first = give_back(library, 10_000, "box-1")

    assert first == Refunded(card="UG1", cents=10_000, credit_cents=20_000, transaction_id="box-1")
    assert give_back(library, 10_000, "box-1") == replace(first, again=True)
    assert give_back(library, 20_000, "box-2").credit_cents == 0
    assert library.owed() == 0
    assert [line["rule"] for line in library.journal() if line["event"] == "PAY"][-2:] == ["R45", "R45"]


@pytest.mark.parametrize("cents", [0, -1, 30_001])
def test_r45_refund_of_more_than_we_owe_is_refused(library: DeskWorld, cents: int) -> None:
    found_after_payment(library)

    answer = give_back(library, cents)

    assert (answer.why, answer.detail) == (Reason.NOT_OWED, {"owed": "300.00"})
    assert library.owed() == -30_000
