"""Dead letters: when they move a request automatically, and the effects of done, drop and retry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import insert

from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.partners import unsent
from hkall_gateway.circulation.results import Noted, Refused
from hkall_gateway.db.outbox import OutboxRow
from hkall_gateway.db.queries import cli_lists
from hkall_gateway.db.tables import NOTICES
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PatronNotice, is_letter
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import NoticeState
from hkall_gateway.rules.vocabulary import Actor, Position
from hkall_gateway.simulator.scenario.scripted_partner import manner
from hkall_gateway.simulator.scenario.world import World

WORLDS = Path(__file__).parents[2] / "fixtures" / "worlds"
STAFF = Actor(who="wong", channel="cli", message="outbox")
WISH = "RequestItem user=UG1 bib=b-dune request=d-1"
CANCEL = "CancelRequestItem user=UG1 request=d-1"


@pytest.fixture
def world() -> Iterator[World]:
    made = World.open(WORLDS / "consortium.toml")
    yield made
    made.close()


def give_up(world: World, how: str, said: str = WISH) -> OutboxRow:
    """Turn the first message to CUHK into a dead letter, with outcome `how`."""
    world.peers.script("CUHK", *manner(f"{how} x12"))
    world.tell("HKU-DISCOVERY", said)
    world.pump()
    world.wait(timedelta(days=3))
    return next(row for row in world.outbox() if row.state == "dead")


def say(world: World, what: str, row: int, reason: str = "by telephone") -> Noted | Refused:
    done = settle(world, what, row, reason)
    world.pump()
    return done


def settle(world: World, what: str, row: int, reason: str = "") -> Noted | Refused:
    command = unsent.Settle(by=STAFF, number=row, reason=reason, kind="outbox", how=what)
    return world.store.now(in_context(unsent.settle, world.circulation.library, world.now, command))


def state_of(world: World, row: int) -> str:
    found = world.store.now(lambda unit: unit.outbox.row(row))
    return found.state if found else "none"


def journal(world: World) -> list[str]:
    return [str(line["event"]) for line in world.store.now(lambda unit: unit.journal.history("R1"))]


def test_request_delivered_by_hand_waits_for_its_lender(world: World) -> None:
    row = give_up(world, "silence")

    assert isinstance(say(world, "done", row.id), Noted)

    request = world.request("R1")
    assert (request.position, request.partner, request.attempt) == (Position.REQUESTED, "CUHK", 1)
    assert state_of(world, row.id) == "done"
    assert "OUTBOX_DONE" in journal(world)


def test_request_in_flight_at_a_crash_has_an_unknown_outcome_when_dropped(world: World) -> None:
    world.tell("HKU-DISCOVERY", WISH)
    (row,) = world.store.now(lambda unit: unit.outbox.claim(world.now, "gone", 600, 10))

    assert isinstance(say(world, "drop", row.id), Refused)  # it may be alive and sending
    world.now += timedelta(seconds=601)
    assert isinstance(say(world, "drop", row.id), Noted)

    assert world.peers.unasked() == ["CUHK CancelRequestItem", "HKUST RequestItem"]


def test_dropped_request_of_unknown_outcome_is_withdrawn_before_the_next_lender_is_asked(world: World) -> None:
    row = give_up(world, "silence")

    say(world, "drop", row.id)

    assert world.request("R1").partner == "HKUST"
    assert world.peers.unasked() == ["CUHK CancelRequestItem", "HKUST RequestItem"]


def test_reason_and_user_are_recorded_in_the_journal(world: World) -> None:
    row = give_up(world, "silence")

    say(world, "drop", row.id, "the librarian of CUHK says no")

    line = next(x for x in world.store.now(lambda unit: unit.journal.history("R1")) if x["event"] == "OUTBOX_DROPPED")
    assert line["who"] == "wong"
    assert "the librarian of CUHK says no" in line["detail"]


@pytest.mark.parametrize("what", ["done", "drop"])
def test_settling_requires_a_reason(world: World, what: str) -> None:
    row = give_up(world, "silence")

    no = say(world, what, row.id, "  ")

    assert isinstance(no, Refused)
    assert no.why is Reason.REASON_NEEDED
    assert state_of(world, row.id) == "dead"


@pytest.mark.parametrize("what", ["done", "drop"])
def test_dead_letter_is_settled_once(world: World, what: str) -> None:
    row = give_up(world, "silence")
    say(world, "done", row.id)

    assert isinstance(say(world, what, row.id), Refused)
    assert isinstance(say(world, what, 4711), Refused)


@pytest.mark.parametrize("what", ["done", "drop"])
def test_undeliverable_withdrawal_is_settled_by_hand(world: World, what: str) -> None:
    world.tell("HKU-DISCOVERY", WISH)
    world.pump()
    row = give_up(world, "silence", CANCEL)
    assert world.request("R1").position is Position.CANCELLING

    say(world, what, row.id)

    assert world.request("R1").position is Position.CANCELLED


def test_retried_dead_letter_is_sent_at_once(world: World) -> None:
    row = give_up(world, "silence")

    settle(world, "retry", row.id)
    world.pump()

    assert world.peers.unasked() == ["CUHK RequestItem"]
    assert world.outbox() == ()
    assert "OUTBOX_RETRIED" in journal(world)


def test_undelivered_request_goes_to_the_next_lender_automatically(world: World) -> None:
    world.peers.script("CUHK", *manner("Problem Temporary Processing Failure x12"))
    world.tell("HKU-DISCOVERY", WISH)
    world.wait(timedelta(days=3))

    assert world.request("R1").partner == "HKUST"
    assert state_of(world, 1) == "dropped"
    assert isinstance(settle(world, "retry", 1), Refused)


@pytest.mark.parametrize("send", [send for send in Notification if is_letter(send)])
def test_dropped_letter_is_removed_from_the_queue(world: World, send: Notification) -> None:
    def queued(unit: UnitOfWork) -> None:
        notice = {"id": 1, "request": "R1", "kind": send.value, "patron": "UG1", "state": "queued", "made_at": world.now}
        unit.execute(insert(NOTICES).values(notice))
        unit.outbox.put(
            send, PatronNotice(send=send.value, request="R1", patron="UG1", title="Dune", at=world.now, notice=1), "", world.now
        )

    world.store.now(queued)
    say(world, "drop", 1)

    assert [row["state"] for row in world.store.now(cli_lists.notices, (NoticeState.QUEUED, NoticeState.DROPPED))] == [
        "dropped"
    ]
    assert not world.letters


def test_every_attempt_of_a_dead_letter_is_listed(world: World) -> None:
    row = give_up(world, "silence")

    tries = world.store.now(lambda unit: unit.outbox.attempts(row.id))

    assert [one.kind for one in tries] == ["unknown"] * 12
    assert all(earlier.at < later.at for earlier, later in pairwise(tries))


def test_settling_effect_is_previewed(world: World) -> None:
    row = give_up(world, "silence")

    _if_done, if_dropped = unsent.effects(row)

    assert world.store.now(lambda unit: unsent.may_have_arrived(unit, row)) is True
    assert if_dropped == "the next lender is asked"
