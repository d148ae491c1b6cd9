"""Two libraries with different records of a request: the table of corrections, and their effects."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hkall_gateway.circulation.partners import reconciling
from hkall_gateway.circulation.partners.reconciling import _BORROWED, _LENT, AGREED, HOW, MENDS, PartnerState, PositionPair
from hkall_gateway.circulation.results import Noted, Refused
from hkall_gateway.db.database import finished
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.positions import FINAL, LENDING
from hkall_gateway.rules.vocabulary import Actor, Position, Side
from hkall_gateway.simulator.scenario.world import World

WORLDS = Path(__file__).parents[2] / "fixtures" / "worlds"
STAFF = Actor(who="wong", channel="cli", message="reconcile")
P = Position


@pytest.fixture
def world() -> Iterator[World]:
    """R1 is requested from CUHK under HKU:R1-1."""
    made = World.open(WORLDS / "asked.toml")
    yield made
    made.close()


def theirs(position: str, barcode: str = "C1") -> dict[str, PartnerState]:
    return {"HKU:R1-1": PartnerState("HKU:R1-1", (position,), barcode)} if position else {}


def compared(world: World, said: dict[str, PartnerState]) -> tuple[PositionPair, ...]:
    return world.store.now(reconciling.compare, "CUHK", said)


def mend(world: World, position: str, reason: str = "their list of today") -> Noted | Refused:
    said = theirs(position)
    (pair,) = compared(world, said)
    line = said.get(pair.wire_id, PartnerState(pair.wire_id, ()))
    correction = reconciling.Correct(by=STAFF, pair=pair, theirs=line, reason=reason)
    done = finished(world.circulation.execute(correction))
    world.pump()
    return done


def number_it(world: World, number: str) -> None:
    """Let the lender give R1 its own number."""

    def mark(unit: UnitOfWork) -> None:
        asked = unit.requests.find_by_wire_id("R1-1")
        assert asked is not None
        unit.candidates.update(asked[1], their_number=number)

    world.store.now(mark)


def test_partner_list_may_use_the_lenders_request_number(world: World) -> None:
    number_it(world, "CUHK:77")
    own = {name: PartnerState(name, ("SHIPPED",), "C1") for name in ("CUHK:77", "CUHK:78")}
    said = world.store.now(reconciling.translate_numbers, "CUHK", own, "HKU")

    assert {*said} == {"HKU:R1-1", "CUHK:78"}
    assert [(pair.request, pair.mend) for pair in compared(world, said)] == [("R1", "take it as shipped"), ("", "")]


def test_lender_is_queried_by_its_own_request_number_if_known(world: World) -> None:
    assert world.store.now(reconciling.their_number, world.request("R1")) == ""
    number_it(world, "CUHK:77")
    assert world.store.now(reconciling.their_number, world.request("R1")) == "CUHK:77"


# ---- the table


def test_position_pairs_are_unique() -> None:
    assert len(MENDS) == len(_BORROWED) + len(_LENT)


def test_every_correction_is_allowed_and_used() -> None:
    assert set(MENDS.values()) - {AGREED} == HOW.keys()


@pytest.mark.parametrize("side", Side)
def test_every_open_position_known_to_a_partner_has_a_row(side: Side) -> None:
    ours = {position for s, position, _ in MENDS if s is side}
    mine = LENDING if side is Side.LENDING else set(P) - LENDING | {P.RETURN_TRANSIT}
    assert ours - FINAL == mine - FINAL - {P.NEW}


def test_partner_positions_belong_to_the_opposite_side() -> None:
    for side, _, said in MENDS:
        there = LENDING if side is Side.BORROWING else set(P) - LENDING | {P.RETURN_TRANSIT}
        assert said == "" or P(said) in there


# ---- what differs


def test_agreeing_requests_are_not_listed(world: World) -> None:
    assert compared(world, theirs("PAGED")) == ()


def test_request_unknown_to_the_partner_is_listed(world: World) -> None:
    (pair,) = compared(world, {})
    assert (pair.request, pair.ours, pair.theirs, pair.mend) == ("R1", "REQUESTED", "unknown", "ask again")


def test_request_open_only_at_the_partner_is_listed_and_not_corrected(world: World) -> None:
    found = compared(world, theirs("PAGED") | {"HKU:R9-1": PartnerState("HKU:R9-1", ("SHIPPED",))})
    assert [(pair.wire_id, pair.ours, pair.mend) for pair in found] == [("HKU:R9-1", "unknown", "")]


def test_request_ended_at_partner_and_unknown_here_is_not_reported(world: World) -> None:
    assert compared(world, theirs("PAGED") | {"HKU:R9-1": PartnerState("HKU:R9-1", ("CLOSED",))}) == ()


# ---- what mends it


def test_missed_shipment_is_applied_from_the_list(world: World) -> None:
    assert isinstance(mend(world, "SHIPPED"), Noted)
    request = world.request("R1")
    assert (request.position, request.item_barcode) == (P.IN_TRANSIT, "C1")


def test_missed_refusal_moves_the_request_to_the_next_lender(world: World) -> None:
    mend(world, "DECLINED")
    assert world.request("R1").partner == "HKUST"


def test_request_that_never_arrived_is_sent_again(world: World) -> None:
    mend(world, "")
    assert world.peers.unasked() == ["CUHK RequestItem"]


def test_correction_reason_is_journalled(world: World) -> None:
    mend(world, "SHIPPED", "their list of 3 May")
    lines = [line for line in world.store.now(lambda unit: unit.journal.history("R1")) if line["event"] == "RECONCILED"]
    assert len(lines) == 1
    assert "their list of 3 May" in lines[0]["detail"]


def test_correction_requires_a_reason(world: World) -> None:
    assert isinstance(mend(world, "SHIPPED", " "), Refused)
    assert world.request("R1").position is P.REQUESTED


def test_correction_is_skipped_when_the_request_changed_meanwhile(world: World) -> None:
    (pair,) = compared(world, theirs("DECLINED"))
    world.tell("CUHK", "ItemShipped request=HKU:R1-1 item=C1")
    line = theirs("DECLINED")["HKU:R1-1"]
    correction = reconciling.Correct(by=STAFF, pair=pair, theirs=line, reason="old list")
    no = finished(world.circulation.execute(correction))
    assert isinstance(no, Refused)
    assert world.request("R1").position is P.IN_TRANSIT
