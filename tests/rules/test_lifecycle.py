"""The life cycle table: complete, unambiguous, and without transitions from final positions."""

from __future__ import annotations

from itertools import product

import pytest

from docs.generate.build import diagram
from hkall_gateway.rules.lifecycle import LENDING_EVENTS, TABLE, Event, Notification, Step, can, side_of, step
from hkall_gateway.rules.positions import FINAL, FIRST, HOLDS_ITEM, LENDING, TAKES_QUOTA
from hkall_gateway.rules.vocabulary import BadStep, Position, Side

pytestmark = pytest.mark.walks_a_table

PAIRS = {(s.source, s.event) for s in TABLE}
UNLISTED = [(side, p, e) for side, p, e in product(Side, Position, Event) if (p, e) not in PAIRS or side_of(e) is not side]


def reached(side: Side) -> set[Position]:
    """Return every position reachable on this side."""
    found: set[Position] = set()
    waiting = set(FIRST[side])
    while waiting:
        found |= waiting
        waiting = {s.target for s in TABLE if side_of(s.event) is side and s.source in found} - found
    return found


def test_transitions_are_unique_per_position_and_event() -> None:
    assert len(PAIRS) == len(TABLE)


def test_every_position_is_reachable_from_an_initial_position() -> None:
    assert reached(Side.BORROWING) | reached(Side.LENDING) == set(Position)


def test_transitions_stay_on_the_borrowing_or_lending_side() -> None:
    shared = {Position.RETURN_TRANSIT, Position.CLOSED}
    assert reached(Side.LENDING) == LENDING
    assert reached(Side.BORROWING) & LENDING == shared


def test_final_positions_have_no_transitions() -> None:
    assert {s.source for s in TABLE} & FINAL == set()


def test_final_position_is_reachable_from_every_position() -> None:
    ending = set(FINAL)
    while more := {s.source for s in TABLE if s.target in ending} - ending:
        ending |= more
    assert ending == set(Position)


def test_every_transition_applies_only_to_its_own_side() -> None:
    assert all(can(side_of(s.event), s.source, s.event) for s in TABLE)
    assert not any(can(side, s.source, s.event) for s in TABLE for side in Side if side is not side_of(s.event))


@pytest.mark.parametrize("row", TABLE, ids=lambda s: f"{s.source}-{s.event}")
def test_every_transition_can_be_looked_up(row: Step) -> None:
    assert step(side_of(row.event), row.source, row.event) is row


def test_every_unlisted_position_and_event_is_refused() -> None:
    assert not any(can(side, position, event) for side, position, event in UNLISTED)


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("position", sorted(FINAL))
def test_step_from_a_final_position_raises(side: Side, position: Position) -> None:
    with pytest.raises(BadStep, match=position):
        step(side, position, Event.RETURN if side is Side.BORROWING else Event.CHECK_IN_HOME)


def test_every_event_except_force_has_a_transition() -> None:
    assert {s.event for s in TABLE} == set(Event) - {Event.FORCE}


def test_transition_never_sends_the_same_message_twice() -> None:
    assert all(len(set(s.sends)) == len(s.sends) for s in TABLE)


def test_event_belongs_to_one_side() -> None:
    borrowing = {s.event for s in TABLE if s.source not in LENDING}
    assert borrowing & LENDING_EVENTS == set()
    assert {s.event for s in TABLE if s.source in LENDING - {Position.RETURN_TRANSIT}} == LENDING_EVENTS


def test_borrowing_events_notify_lenders_and_patrons_and_lending_events_notify_borrowers() -> None:
    told = {(side_of(s.event), send.name.startswith("TELL_BORROWER")) for s in TABLE for send in s.sends}
    assert told == {(Side.BORROWING, False), (Side.LENDING, True)}


def test_r30_renewal_sends_no_letter() -> None:
    letters = [send for s in TABLE if s.event is Event.RENEW for send in s.sends if send.name.startswith("LETTER")]
    assert letters == []


def test_r15_expired_pickup_notifies_no_partner() -> None:
    assert step(Side.BORROWING, Position.RECEIVED, Event.EXPIRE_PICKUP).sends == (Notification.LETTER_EXPIRED,)


def test_r12_one_arrival_sends_one_letter() -> None:
    assert step(Side.BORROWING, Position.IN_TRANSIT, Event.ARRIVE).sends.count(Notification.LETTER_PICKUP) == 1
    assert not can(Side.BORROWING, Position.RECEIVED, Event.ARRIVE)


@pytest.mark.parametrize("position", sorted({p for p in Position if p not in LENDING} - {Position.NEW, Position.REQUESTED}))
def test_r34_only_a_request_under_way_can_be_cancelled(position: Position) -> None:
    assert not can(Side.BORROWING, position, Event.CANCEL)


def test_r21_quota_is_released_in_every_final_position() -> None:
    assert set() == TAKES_QUOTA & FINAL


def test_ended_request_has_no_item_in_use() -> None:
    assert set() == HOLDS_ITEM & FINAL


@pytest.mark.parametrize("row", TABLE, ids=lambda s: f"{s.source}-{s.event}")
def test_diagram_shows_every_transition(row: Step) -> None:
    assert f"{row.source} --> {row.target}: {row.event.lower()}" in diagram()


def test_diagram_has_one_mermaid_block_per_side() -> None:
    blocks = diagram().split("## ")[1:]
    for side, block in zip(Side, blocks, strict=True):
        title, *fence, last = block.strip("\n").split("\n")
        assert (title, fence[:3], last) == (side.name.title(), ["", "```mermaid", "stateDiagram-v2"], "```")
        lines = fence[3:]
        assert lines[: len(FIRST[side])] == [f"    [*] --> {p}" for p in sorted(FIRST[side])]
        assert {line for line in lines if line.endswith("[*]")} == {f"    {p} --> [*]" for p in reached(side) & FINAL}
        assert sum(": " in line for line in lines) == sum(side_of(s.event) is side for s in TABLE)
