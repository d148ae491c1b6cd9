"""Scheduled rounds: on the right day, once, in batches, on one gateway only, and after three days of downtime."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from twisted.internet.defer import ensureDeferred

from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.jobs.rounds import LEASE_S, ROUNDS, Rounds, RoundTakenOver, begin, one_batch
from hkall_gateway.circulation.partner_notice import ItemShipped
from hkall_gateway.db import inbox
from hkall_gateway.db import rounds as store_rounds
from hkall_gateway.db.database import finished
from hkall_gateway.db.tables import INBOX
from hkall_gateway.rules.dates import EVERY
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.settings import Notices, Policy
from hkall_gateway.rules.vocabulary import Position
from tests.circulation.conftest import sent_as

if TYPE_CHECKING:
    from tests.circulation.conftest import DeskWorld, NoTimer

P = Position
BEFORE_MIDNIGHT, MIDNIGHT = "23:59:59", "00:00:00"


# ---- R14, R15: not collected


def on_the_shelf(library: DeskWorld, last: str = "2017-03-11", **facts: Any) -> None:
    library.given(P.RECEIVED, received_on=date(2017, 3, 6), pickup_last=date.fromisoformat(last), **facts)


def test_r14_pickup_does_not_expire_on_the_fifth_day(library: DeskWorld) -> None:
    on_the_shelf(library)
    library.go_to(f"2017-03-11 {BEFORE_MIDNIGHT}")

    assert library.round("pickup_expiry") == 0
    assert not library.request().expired_pickup


def test_r14_r15_pickup_expires_at_midnight_after_the_fifth_day_without_a_letter(library: DeskWorld) -> None:
    on_the_shelf(library)
    library.go_to(f"2017-03-12 {MIDNIGHT}")

    assert library.round("pickup_expiry") == 1
    assert (library.request().position, library.request().expired_pickup) == (P.RECEIVED, True)
    assert library.told() == []


def test_r14_pickup_expires_once(library: DeskWorld) -> None:
    on_the_shelf(library)
    library.go_to(f"2017-03-12 {MIDNIGHT}")
    library.round("pickup_expiry")

    assert library.round("pickup_expiry") == 0


def test_r14_reminder_is_written_at_midnight_of_the_day_before_the_last(make_library: Callable[..., DeskWorld]) -> None:
    library = make_library(Policy(notices=Notices(pickup_reminder=True)))
    on_the_shelf(library)
    library.go_to(f"2017-03-09 {BEFORE_MIDNIGHT}")
    assert library.round("pickup_reminder") == 0

    library.go_to(f"2017-03-10 {MIDNIGHT}")
    library.round("pickup_reminder")
    library.round("pickup_reminder")

    assert library.told() == ["UG1 letter_pickup_reminder"]


def test_r14_no_reminder_is_written_unless_the_policy_says_so(library: DeskWorld) -> None:
    on_the_shelf(library)
    library.go_to(f"2017-03-10 {MIDNIGHT}")

    assert library.round("pickup_reminder") == 0
    assert library.told() == []


def test_r14_reminder_is_written_on_the_last_day_by_a_gateway_that_was_away(make_library: Callable[..., DeskWorld]) -> None:
    library = make_library(Policy(notices=Notices(pickup_reminder=True)))
    on_the_shelf(library)
    library.go_to("2017-03-11 08:00")
    library.round("pickup_reminder")

    assert library.told() == ["UG1 letter_pickup_reminder"]

    library.go_to("2017-03-12 08:00")
    assert library.round("pickup_reminder") == 0


# ---- R39: overdue


def test_r39_overdue_letter_is_not_sent_on_the_due_date(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to(f"2017-03-16 {BEFORE_MIDNIGHT}")

    assert library.round("overdue") == 0


def test_r39_one_overdue_letter_is_sent_at_midnight_after_the_due_date(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to(f"2017-03-17 {MIDNIGHT}")
    library.round("overdue")
    library.go_to(f"2017-03-18 {MIDNIGHT}")
    library.round("overdue")

    assert library.told() == ["UG1 letter_overdue"]
    assert library.request().overdue_notice_for == date(2017, 3, 16)


def test_r39_recalled_loan_also_gets_an_overdue_letter(library: DeskWorld) -> None:
    library.lent_out(recalled_on=date(2017, 3, 5))
    library.go_to(f"2017-03-17 {MIDNIGHT}")

    assert library.round("overdue") == 1


def test_r39_another_overdue_letter_is_possible_after_a_renewal(library: DeskWorld) -> None:
    library.lent_out()
    library.go_to(f"2017-03-17 {MIDNIGHT}")
    library.round("overdue")
    library.renew("", staff=True)  # due on 1 April
    library.go_to(f"2017-04-02 {MIDNIGHT}")
    library.round("overdue")

    assert library.letters(Notification.LETTER_OVERDUE) == 2


@pytest.mark.parametrize("facts", [{"lost_on": date(2017, 3, 10)}, {"claimed_on": date(2017, 3, 10)}])
def test_lost_and_claimed_items_cause_no_overdue_letter(library: DeskWorld, facts: dict[str, Any]) -> None:
    library.lent_out(**facts)
    library.go_to(f"2017-03-17 {MIDNIGHT}")

    assert library.round("overdue") == 0


def test_overdue_letters_can_be_switched_off(make_library: Callable[..., DeskWorld]) -> None:
    library = make_library(Policy(notices=Notices(overdue=False)))
    library.lent_out()
    library.go_to(f"2017-03-17 {MIDNIGHT}")

    assert library.round("overdue") == 1
    assert library.told() == []


# ---- R11: silent lenders


def asked_on(library: DeskWorld, text: str, **facts: Any) -> None:
    library.go_to(text)
    library.given(P.REQUESTED, **facts)


def test_r11_lender_silent_for_two_working_days_is_skipped(library: DeskWorld) -> None:
    asked_on(library, "2017-03-01 10:00")  # Wednesday
    library.go_to(f"2017-03-03 {BEFORE_MIDNIGHT}")
    assert library.round("silence") == 0
    library.go_to(f"2017-03-04 {MIDNIGHT}")
    assert library.round("silence") == 1

    assert (library.request().partner, library.request().attempt) == ("HKUST", 2)
    assert library.told() == ["CUHK cancel_at_lender", "HKUST ask_lender"]


def test_r11_weekends_and_holidays_of_the_lender_do_not_count(library: DeskWorld) -> None:
    asked_on(library, "2017-03-03 10:00")  # Friday
    library.close_on("CUHK", "2017-03-07")
    library.go_to("2017-03-08 10:00")
    assert library.round("silence") == 0
    library.go_to("2017-03-09 10:00")
    assert library.round("silence") == 1


def test_r11_lender_that_accepted_has_the_paging_period(library: DeskWorld) -> None:
    asked_on(library, "2017-03-01 10:00")
    library.accept("R1")
    library.go_to("2017-03-08 10:00")
    assert library.round("silence") == 0
    library.go_to("2017-03-09 10:00")
    assert library.round("silence") == 1


def test_r38_silence_of_the_last_lender_ends_the_request_with_one_letter(library: DeskWorld) -> None:
    asked_on(library, "2017-03-01 10:00")
    library.go_to("2017-03-04 10:00")
    library.round("silence")
    library.go_to("2017-03-10 10:00")
    library.round("silence")
    library.round("silence")

    assert (library.request().position, library.request().reason) == (P.UNFILLED, "silence")
    assert library.told()[2:] == ["HKUST cancel_at_lender", "UG1 letter_unfilled"]


def test_late_item_from_a_skipped_lender_is_received_and_returned(library: DeskWorld) -> None:
    asked_on(library, "2017-03-01 10:00")
    library.go_to("2017-03-04 10:00")
    library.round("silence")
    library.go_to("2017-03-10 10:00")
    library.round("silence")

    library.ask(library.circulation.execute(sent_as(ItemShipped, library.heard(wire_agency="HKU", wire_id="R1-1"))))

    assert (library.request("R2").kind, library.request("R2").position) == ("stray", P.IN_TRANSIT)


def test_r34_unconfirmed_cancellation_is_settled_after_its_period(library: DeskWorld) -> None:
    library.given(P.CANCELLING)
    library.go_to("2017-03-04 10:00")

    assert library.round("silence") == 1
    assert library.request().position is P.CANCELLED


# ---- not needed any more


@pytest.mark.parametrize(("position", "after"), [(P.NEW, P.CANCELLED), (P.REQUESTED, P.CANCELLING)])
def test_request_is_cancelled_on_the_day_after_it_was_needed(library: DeskWorld, position: Position, after: Position) -> None:
    library.given(position, need_before=date(2017, 3, 10))
    library.go_to(f"2017-03-10 {BEFORE_MIDNIGHT}")
    assert library.round("not_needed_after") == 0
    library.go_to(f"2017-03-11 {MIDNIGHT}")
    assert library.round("not_needed_after") == 1

    assert library.request().position is after


def test_need_before_date_arrives_with_the_request(library: DeskWorld) -> None:
    library.wish(need_before=date(2017, 3, 10))

    assert library.request().need_before == date(2017, 3, 10)


def test_item_in_transit_arrives_even_when_no_longer_needed(library: DeskWorld) -> None:
    library.given(P.IN_TRANSIT, need_before=date(2017, 3, 10))
    library.go_to("2017-03-11 10:00")

    assert library.round("not_needed_after") == 0


# ---- the inbox


def test_stored_replies_are_deleted_by_the_inbox_round_after_their_retention_time(library: DeskWorld) -> None:
    for number, hours in enumerate([1, 1, 2, 3]):
        until = library.now + timedelta(hours=hours)
        library.store.now(inbox.keep, "D", f"{number}", "outcome", until, library.now)
    library.now += timedelta(hours=2)
    library.rounds = library.gateway("here", batch=1)

    assert library.round("inbox_cleanup") == 2
    assert [row["digest"] for row in library.rows(INBOX)] == ["2", "3"]


# ---- batches, and who does them


def many_loans(library: DeskWorld, count: int) -> None:
    for number in range(count):
        on = "2017-03-01" if number % 2 else "2017-02-28"
        library.lent_out(on=on, item_barcode=f"C{number}", wire_id=f"w-{number}")


@pytest.mark.parametrize("batch", [1, 2, 3, 7, 8])
def test_round_processes_all_rows_for_any_batch_size(library_on_each: DeskWorld, batch: int) -> None:
    library = library_on_each
    many_loans(library, 7)
    library.go_to("2017-03-17 00:00")
    library.rounds = library.gateway("here", batch)

    assert library.round("overdue") == 7
    assert library.letters(Notification.LETTER_OVERDUE) == 7


def test_interrupted_round_is_completed_by_another_gateway_after_the_lease(library: DeskWorld) -> None:
    many_loans(library, 5)
    library.go_to("2017-03-17 00:00")
    job = library.store.now(begin, "overdue", "gateway-1", library.now, True)
    assert job is not None
    library.store.now(in_context(one_batch, library.library, library.now, job, "gateway-1", 2))

    other = library.gateway("gateway-2", batch=2)
    assert finished(other.do("overdue", due_only=True)) == 0
    library.now += timedelta(seconds=LEASE_S + 1)
    finished(other.run_due())

    assert library.letters(Notification.LETTER_OVERDUE) == 5
    assert library.job("overdue").count == 5


def test_round_is_run_by_one_of_two_gateways(library_on_each: DeskWorld) -> None:
    library = library_on_each
    many_loans(library, 3)
    library.go_to("2017-03-17 00:00")

    first = library.store.now(begin, "overdue", "gateway-1", library.now, True)
    second = library.store.now(begin, "overdue", "gateway-2", library.now, True)

    assert (first is not None, second) == (True, None)


def test_batch_is_rolled_back_when_the_gateway_lost_its_lease(library: DeskWorld) -> None:
    many_loans(library, 3)
    library.go_to("2017-03-17 00:00")
    slow = library.store.now(begin, "overdue", "gateway-1", library.now, True)
    assert slow
    library.now += timedelta(seconds=LEASE_S + 1)
    library.store.now(begin, "overdue", "gateway-2", library.now, True)

    with pytest.raises(RoundTakenOver):
        library.store.now(in_context(one_batch, library.library, library.now, slow, "gateway-1", 2))

    assert library.told() == []


class HalfSeconds:
    """A clock that advances by half a second per call; the test runs its scheduled calls."""

    def __init__(self) -> None:
        self.now, self.waiting = 0.0, list[tuple[float, Callable[..., Any]]]()

    def seconds(self) -> float:
        self.now += 0.5
        return self.now

    def callLater(self, delay: float, call: Callable[..., Any], /) -> Any:  # noqa: N802  # Twisted's own name
        self.waiting.append((delay, call))


def test_round_pauses_after_each_batch_for_as_long_as_it_took(library: DeskWorld) -> None:
    many_loans(library, 3)
    library.go_to("2017-03-17 00:00")
    clock = HalfSeconds()
    rounds = Rounds(library.store, lambda: library.library, lambda: library.now, clock, "here", batch=2)

    going = ensureDeferred(rounds.do("overdue"))
    assert len(library.told()) == 2
    ((delay, call),) = clock.waiting
    assert delay == 0.5

    call()
    assert finished(going) == 3
    assert len(library.told()) == 3


def test_round_is_due_again_at_the_next_hong_kong_midnight(library: DeskWorld) -> None:
    library.go_to("2017-03-17 09:00")
    finished(library.rounds.run_due())

    assert library.job("overdue").last_run == library.now
    library.go_to(f"2017-03-17 {BEFORE_MIDNIGHT}")
    assert not library.job("overdue").free(library.now)
    library.go_to(f"2017-03-18 {MIDNIGHT}")
    assert library.job("overdue").free(library.now)
    library.go_to("2017-03-18 00:01")
    assert library.job("overdue").lag_s(library.now) == 60


def test_letters_are_sent_once_after_three_days_of_downtime(library: DeskWorld) -> None:
    library.lent_out()
    finished(library.rounds.run_due())
    library.go_to("2017-03-20 08:00")

    finished(library.gateway("here").run_due())
    finished(library.gateway("here").run_due())

    assert library.told() == ["UG1 letter_overdue"]


def test_rounds_are_checked_at_the_start_and_every_minute(library: DeskWorld, timer: NoTimer) -> None:
    library.lent_out()
    library.go_to("2017-03-16 23:59:30")
    rounds = Rounds(library.store, lambda: library.library, lambda: library.now, timer, "here")
    rounds.start()
    assert library.told() == []

    library.go_to("2017-03-17 00:00:30")
    timer.ring()

    assert library.told() == ["UG1 letter_overdue"]
    finished(rounds.stop())
    assert timer.waiting == []


def test_interrupted_round_resumes_at_once_after_a_restart(library: DeskWorld) -> None:
    many_loans(library, 3)
    library.go_to("2017-03-17 00:00")
    clock = HalfSeconds()
    rounds = Rounds(library.store, lambda: library.library, lambda: library.now, clock, "here", batch=2)
    running = ensureDeferred(rounds.run_due())
    ensureDeferred(rounds.stop())
    clock.waiting.pop()[1]()
    finished(running)
    assert len(library.told()) == 2

    library.go_to("2017-03-17 00:01")
    finished(library.gateway("here").run_due())

    assert len(library.told()) == 3


def test_stop_leaves_the_remaining_rounds_unclaimed(library: DeskWorld) -> None:
    many_loans(library, 3)
    library.go_to("2017-03-17 00:00")
    clock = HalfSeconds()
    rounds = Rounds(library.store, lambda: library.library, lambda: library.now, clock, "here", batch=2)
    running = ensureDeferred(rounds.run_due())
    ensureDeferred(rounds.stop())
    clock.waiting.pop()[1]()
    finished(running)

    later = list(ROUNDS)[list(ROUNDS).index("overdue") + 1 :]
    assert later
    claimed = {job.name for job in library.store.now(store_rounds.jobs) if job.claimed_by}
    assert claimed == {"overdue"}
    finished(library.gateway("other").run_due())
    assert all(library.job(name).last_run == library.now for name in later)


def test_failing_round_does_not_stop_the_others(library: DeskWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    library.lent_out()
    library.go_to("2017-03-17 00:00")

    def broken(*_: object) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(store_rounds, "pickups_over", broken)
    finished(library.rounds.run_due())

    assert library.told() == ["UG1 letter_overdue"]
    assert library.job("pickup_expiry").last_run is None


@pytest.mark.parametrize("name", ROUNDS)
def test_every_round_succeeds_on_an_empty_database(library_on_each: DeskWorld, name: str) -> None:
    library = library_on_each
    assert library.round(name) == 0
    assert library.job(name).last_run == library.now


def test_rounds_are_named_like_their_functions() -> None:
    assert all(work.__name__ == name for name, work in ROUNDS.items())
    assert tuple(ROUNDS) == tuple(EVERY)


# ---- the clock is set


def test_fast_clock_neither_skips_nor_repeats_a_letter(library_on_each: DeskWorld) -> None:
    """With a clock two days ahead, the rounds of those days ran early; after the correction they run again on their days."""
    library = library_on_each
    library.lent_out()  # due on 16 March
    library.go_to(f"2017-03-18 {MIDNIGHT}")
    finished(library.rounds.run_due())
    assert library.letters(Notification.LETTER_OVERDUE) == 1
    library.go_to("2017-03-16 09:00")
    library.lent_out(item_barcode="C2", wire_id="w-2")
    finished(library.rounds.run_due())
    assert library.letters(Notification.LETTER_OVERDUE) == 1
    library.go_to(f"2017-03-17 {MIDNIGHT}")
    finished(library.rounds.run_due())
    assert library.letters(Notification.LETTER_OVERDUE) == 2


def test_round_held_by_a_dead_gateway_with_a_fast_clock_is_taken_over(library_on_each: DeskWorld) -> None:
    library = library_on_each
    library.lent_out()
    library.go_to("2017-03-18 00:00")
    assert library.store.now(begin, "overdue", "dead", library.now, True) is not None
    library.go_to("2017-03-17 00:00")
    finished(library.gateway("here").run_due())
    assert library.letters(Notification.LETTER_OVERDUE) == 1


def test_gateways_with_clocks_minutes_apart_run_a_round_once_a_day(library_on_each: DeskWorld) -> None:
    library = library_on_each
    library.go_to("2017-03-17 00:02")
    finished(library.gateway("fast").run_due())
    last = library.job("overdue").last_run
    library.go_to("2017-03-16 23:58")
    finished(library.gateway("slow").run_due())
    library.go_to("2017-03-17 00:01")
    finished(library.gateway("slow").run_due())
    assert library.job("overdue").last_run == last
