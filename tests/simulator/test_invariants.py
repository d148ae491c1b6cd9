"""Every invariant of the consortium detects a planted defect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, cast
from unittest.mock import patch

import pytest
import structlog
from sqlalchemy import insert, update

from hkall_gateway.db.engine.worker import Job
from hkall_gateway.db.tables import NOTICES, REQUESTS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.delivery.headers import message_id
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.outbox_messages import partner_message
from hkall_gateway.rules.vocabulary import Actor, ItemKey, Position, Request, Side
from hkall_gateway.simulator.consortium.faults import TwoWayStore
from hkall_gateway.simulator.consortium.invariants import AT_THE_END, EACH_STEP
from hkall_gateway.simulator.consortium.simulate import PreparedSimulation, be_quiet
from hkall_gateway.simulator.consortium.staff import SimulatedCopy
from hkall_gateway.simulator.scenario.world import LETTER_KEY, ReceivedLetter, World

P = Position
HKU, DEFECT = "HKU", Actor(who="test", channel="world")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = structlog.get_config()
    be_quiet()
    yield
    structlog.configure(**before)


# ---- a request without random events


def step(story: PreparedSimulation, what: Callable[[], object]) -> None:
    """Run one event with its immediate consequences."""
    story.consortium.schedule_after(timedelta(seconds=1), lambda: (what(), None)[1])
    story.consortium.run_until(story.consortium.now + timedelta(seconds=2))


def write(story: PreparedSimulation, agency: str, what: Callable[[UnitOfWork, World], object]) -> None:
    """Write a defect into the database of a library."""
    world = story.consortium.worlds[agency]
    step(story, lambda: world.store.now(lambda unit: what(unit, world)))


def _asked_before(unit: UnitOfWork, _world: World, item: ItemKey) -> None:
    """Record that this item's library was also asked for R2 and has not supplied it."""
    lender = next(one for one in unit.candidates.of_request("R2") if (one.agency, one.barcode) == item)
    unit.candidates.update(lender, wire_id="R2-0", outcome="refused: Item Not Available By Need Before Date")


def asked(story: PreparedSimulation) -> tuple[Request, SimulatedCopy]:
    """Return a request of HKU, its lender, and the requested item."""
    ours = {book.bib_id for book in story.people.books.values() if book.item.agency == HKU}
    title = next(book.bib_id for book in story.people.books.values() if book.bib_id not in ours)
    said = f"RequestItem user=HKU-P0 bib={title} request=d-1"
    step(story, lambda: story.consortium.worlds[HKU].tell("HKU-DISCOVERY", said))
    wish = story.consortium.worlds[HKU].request("R1")
    assert wish.position is P.REQUESTED
    return wish, next(b for b in story.people.books.values() if b.bib_id == title and b.item.agency == wish.partner)


def shipped(story: PreparedSimulation) -> tuple[Request, SimulatedCopy]:
    wish, book = asked(story)
    step(story, lambda: story.people.check_out(wish.partner, "HKU-INST", book))
    book.place, book.holder = "desk", HKU
    return story.consortium.worlds[HKU].request(wish.id), book


def at_home(story: PreparedSimulation) -> Request:
    """Return a completed loan that both sides have closed."""
    wish, book = shipped(story)
    step(story, lambda: story.people.check_in(HKU, book))
    step(story, lambda: story.people.check_out(HKU, wish.patron, book))
    step(story, lambda: story.people.check_in(HKU, book))
    book.place, book.holder = "shelf", book.item.agency
    step(story, lambda: story.people.check_in(book.item.agency, book))
    return story.consortium.worlds[HKU].request(wish.id)


# ---- planted defects


def it_stands_on_the_lenders_shelf(story: PreparedSimulation) -> None:
    _, book = shipped(story)
    book.place, book.holder = "shelf", book.item.agency
    step(story, lambda: story.people.check_in(HKU, book))


def two_libraries_say_that_they_have_it(story: PreparedSimulation) -> None:
    wish, book = shipped(story)
    third = next(agency for agency in story.consortium.worlds if agency not in {HKU, book.item.agency})
    write(story, third, lambda unit, world: unit.open(replace(wish, position=P.RECEIVED), world.now, DEFECT))
    step(story, lambda: story.people.check_in(HKU, book))


def two_lenders_ship(story: PreparedSimulation) -> None:
    wish, book = asked(story)
    second = next(
        b for b in story.people.books.values() if b.bib_id == book.bib_id and b.item.agency not in {HKU, wish.partner}
    )
    write(story, HKU, lambda unit, _: unit.candidates.update(unit.candidates.of_request(wish.id)[1], wire_id="R1-2"))
    lent = {"side": Side.LENDING, "position": P.PAGED, "partner": HKU, "wire_id": "R1-2", "patron": ""}
    lent |= {"item_agency": second.item.agency, "item_barcode": second.item.barcode}
    write(story, second.item.agency, lambda unit, world: unit.open(replace(wish, **lent), world.now, DEFECT))  # type: ignore[arg-type]
    step(story, lambda: story.people.check_out(wish.partner, "HKU-INST", book))
    step(story, lambda: story.people.check_out(second.item.agency, "HKU-INST", second))


def the_next_is_asked_without_a_reason(story: PreparedSimulation) -> None:
    wish, _ = asked(story)
    write(story, HKU, lambda unit, _: unit.candidates.update(unit.candidates.of_request(wish.id)[1], wire_id="R1-2"))
    write(story, HKU, lambda unit, world: unit.advance(wish, Event.ASK_NEXT, world.now, DEFECT, wire_id="R1-2"))


def a_loan_ends_with_the_owners_date(story: PreparedSimulation) -> None:
    wish, book = shipped(story)
    step(story, lambda: story.people.check_in(HKU, book))
    received = story.consortium.worlds[HKU].request(wish.id)
    today = civil(story.consortium.now)
    cut: dict[str, Any] = {"first_checkout": today, "loan_days": 15, "due": today + timedelta(days=9)}
    write(story, HKU, lambda unit, world: unit.advance(received, Event.CHECK_OUT, world.now, DEFECT, **cut))


def one_book_too_many(story: PreparedSimulation) -> None:
    wish, _ = asked(story)
    for number in range(40):
        more = replace(wish, id=f"X{number}", placed_id=f"x{number}", wire_id=f"X{number}-1")
        write(story, HKU, lambda unit, world, more=more: unit.open(more, world.now, DEFECT))  # type: ignore[misc]  # bound now


def a_letter_comes_again(story: PreparedSimulation) -> None:
    again = letter(story, 900, "letter_overdue")
    step(story, lambda: story.consortium.worlds[HKU].letters.extend([again, again]))


def letter(story: PreparedSimulation, number: int, kind: str) -> ReceivedLetter:
    """Register a letter about R1."""
    world = story.consortium.worlds[HKU]
    row = {"id": number, "request": "R1", "kind": kind, "about": str(number), "state": "sent", "made_at": world.now}
    world.store.now(lambda unit: unit.execute(insert(NOTICES).values(row)))
    return ReceivedLetter(
        patron="HKU-P0", subject="Ready", text="", number=message_id(number, kind, "R1", LETTER_KEY, "lib.test")
    )


def there_are_two_letters_for_one_arrival(story: PreparedSimulation) -> None:
    two = [letter(story, number, "letter_pickup") for number in (901, 902)]
    step(story, lambda: story.consortium.worlds[HKU].letters.extend(two))


def something_is_not_told(story: PreparedSimulation) -> None:
    wish = at_home(story)
    world = story.consortium.worlds[HKU]
    said = partner_message(Notification.TELL_LENDER_RECEIVED, wish, world.now, None)
    world.store.now(lambda unit: unit.outbox.put(Notification.TELL_LENDER_RECEIVED, said, "", world.now))


def a_bag_is_never_opened(story: PreparedSimulation) -> None:
    at_home(story)
    next(iter(story.people.books.values())).place = "bag"


def a_wish_stands_still(story: PreparedSimulation) -> None:
    asked(story)


def the_borrower_thinks_that_it_was_cancelled(story: PreparedSimulation) -> None:
    wish = at_home(story)
    write(story, HKU, lambda unit, world: unit.force(wish, P.CANCELLED, world.now, DEFECT, "defect"))


def the_lender_thinks_that_it_declined(story: PreparedSimulation) -> None:
    wish = at_home(story)
    lent = story.consortium.worlds[wish.partner].request("R1")
    write(story, wish.partner, lambda unit, world: unit.force(lent, P.DECLINED, world.now, DEFECT, "defect"))


def a_letter_is_lost(story: PreparedSimulation) -> None:
    wish, book = shipped(story)
    letters = story.consortium.worlds[HKU].letters
    story.consortium.watch = lambda _moved: letters.clear()
    step(story, lambda: story.people.check_in(HKU, book))
    assert story.consortium.worlds[HKU].request(wish.id).position is P.RECEIVED


# fmt: off
def a_position_is_changed_by_hand(story: PreparedSimulation) -> None:
    asked(story)
    change = update(REQUESTS).where(REQUESTS.c.id == "R1").values(position=P.CANCELLING.value)
    write(story, HKU, lambda unit, _world: unit.execute(change))


def an_old_check_in_waits(story: PreparedSimulation) -> None:
    """Queue a check-in at a partitioned gateway; the terminal repeats it at the other one, where the item is lent."""
    wish, book = shipped(story)
    store = cast(TwoWayStore, story.consortium.worlds[HKU].store)
    store.waits = lambda: True
    step(story, lambda: story.people.check_in(HKU, book))
    store.waits = lambda: False
    step(story, lambda: story.people.check_in(HKU, book))
    step(story, lambda: story.people.check_out(HKU, wish.patron, book))


def an_old_check_in_runs(story: PreparedSimulation) -> None:
    """Run the old check-in, as a gateway without deadlines would."""
    an_old_check_in_waits(story)
    with patch.object(Job, "begin", return_value=True):
        step(story, lambda: story.consortium.let_go(HKU))


DEFECTS: tuple[tuple[str, Callable[[PreparedSimulation], None], str], ...] = (
    ("a book is in one place",            it_stands_on_the_lenders_shelf,            "says RECEIVED of"),
    ("a book is in one place",            two_libraries_say_that_they_have_it,       "both say that they have"),
    ("one lender ships a request",       two_lenders_ship,                          "and so does"),
    ("a lender is given up with reason", the_next_is_asked_without_a_reason,        "went on from"),
    ("a loan has its whole period",       a_loan_ends_with_the_owners_date,          "is lent for 15 days"),
    ("no step after its refusal",         an_old_check_in_runs,                      "took RETURN after its caller"),
    ("quotas hold",                       one_book_too_many,                         "has 40 books"),
    ("each letter once",                  a_letter_comes_again,                      "came 2 times"),
    ("each letter once",                  there_are_two_letters_for_one_arrival,     "2 different letters letter_pickup"),
    ("the outbox drains",                 something_is_not_told,                     "outbox"),
    ("every book is home or settled",     a_bag_is_never_opened,                     "is lost: bag"),
    ("every request ends",                a_wish_stands_still,                       "is still REQUESTED"),
    ("the borrower agrees",               the_borrower_thinks_that_it_was_cancelled, "is CLOSED, HKU R1 is CANCELLED"),
    ("the lender agrees",                 the_lender_thinks_that_it_declined,        "has DECLINED"),
    ("every letter comes",                a_letter_is_lost,                          "R1: no letter_pickup"),
    ("every letter comes",                a_letter_is_lost,                          "R1: letter_pickup is not sent"),
    ("the tables agree",                  a_position_is_changed_by_hand,             "R1 0: CANCELLING, not REQUESTED"),
)
# fmt: on


@pytest.mark.parametrize(("truth", "plant", "words"), DEFECTS)
def test_planted_defect_is_detected(
    story: PreparedSimulation, truth: str, plant: Callable[[PreparedSimulation], None], words: str
) -> None:
    plant(story)
    if truth in AT_THE_END:
        found = list(AT_THE_END[truth](story.watcher.look))
    else:
        found = story.watcher.broken
    assert any(words in line for line in found), found


def test_command_answered_with_try_again_never_takes_effect_later(story: PreparedSimulation) -> None:
    an_old_check_in_waits(story)
    step(story, lambda: story.consortium.let_go(HKU))
    assert story.consortium.worlds[HKU].request("R1").position is P.ON_LOAN
    assert story.watcher.broken == []


def test_every_invariant_has_a_planted_defect() -> None:
    assert {truth for truth, _, _ in DEFECTS} == {truth.name for truth in EACH_STEP} | AT_THE_END.keys() | {"each letter once"}


def test_successful_request_violates_no_invariant(story: PreparedSimulation) -> None:
    assert at_home(story).position is P.CLOSED
    assert story.watcher.is_settled()
    story.watcher.end()
    assert story.watcher.broken == []


def test_item_sent_for_one_request_and_received_for_another_is_one_loan(story: PreparedSimulation) -> None:
    wish, book = asked(story)
    said = f"RequestItem user=HKU-P1 bib={book.bib_id} request=d-2"
    step(story, lambda: story.consortium.worlds[HKU].tell("HKU-DISCOVERY", said))
    write(story, HKU, partial(_asked_before, item=book.item))
    story.consortium.disconnect_network(HKU, timedelta(hours=1))
    step(story, lambda: story.people.check_out(wish.partner, "HKU-INST", book))
    other = story.consortium.worlds[HKU].request("R2")
    step(story, lambda: story.people.run_command(HKU, "receive", other, "no message", book))
    step(story, lambda: story.people.check_out(HKU, other.patron, book))
    step(story, lambda: story.people.check_in(HKU, book))
    story.consortium.run_until(story.consortium.now + timedelta(days=1))
    step(story, lambda: story.people.check_in(book.item.agency, book))
    assert [story.consortium.worlds[HKU].request(number).position for number in ("R1", "R2")] == [P.UNFILLED, P.CLOSED]
    assert [*AT_THE_END["the borrower agrees"](story.watcher.look), *AT_THE_END["the lender agrees"](story.watcher.look)] == []


def test_disconnected_library_may_be_notified_last_about_its_item(story: PreparedSimulation) -> None:
    wish, book = shipped(story)
    step(story, lambda: story.people.check_in(HKU, book))
    step(story, lambda: story.people.check_out(HKU, wish.patron, book))
    story.consortium.disconnect_network(HKU, timedelta(days=1))
    book.place, book.holder = "shelf", book.item.agency
    step(story, lambda: story.people.check_in(book.item.agency, book))
    third = next(agency for agency in story.consortium.worlds if agency not in {HKU, book.item.agency})
    here = {"position": P.RECEIVED, "patron": f"{third}-P0", "pickup_location": f"{third}-DESK"}
    here |= {"item_agency": book.item.agency, "item_barcode": book.item.barcode}
    write(story, third, lambda unit, world: unit.open(replace(wish, **here), world.now, DEFECT))  # type: ignore[arg-type]
    book.place, book.holder = "desk", third
    step(story, lambda: story.people.check_out(third, f"{third}-P0", book))
    assert {story.consortium.worlds[agency].request("R1").position for agency in (HKU, third)} == {P.ON_LOAN}
    assert story.watcher.broken == []


def test_every_event_in_an_invariant_exists() -> None:
    assert {name for truth in EACH_STEP for name in truth.events} <= {event.name for event in Event} | {"OPEN"}
