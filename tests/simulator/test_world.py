"""A simulated world has its own clock and survives restarts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.simulator.scenario.scripted_partner import manner
from hkall_gateway.simulator.scenario.world import Died, World

WORLDS = Path(__file__).parent.parent.parent / "fixtures" / "worlds"

WISH = "RequestItem user=UG1 bib=b-dune request=d-1"


@pytest.fixture
def world() -> Iterator[World]:
    made = World.open(WORLDS / "consortium.toml")
    yield made
    made.close()


def test_request_is_answered_and_the_lender_contacted_by_the_courier(world: World) -> None:
    reply = world.tell("HKU-DISCOVERY", WISH)

    assert reply.service == "RequestItemResponse"
    assert world.peers.arrived("CUHK") is None
    world.pump()
    assert world.peers.arrived("CUHK") is not None
    assert world.request("R1").position is Position.REQUESTED


def test_new_requests_are_numbered_after_the_requests_in_the_world_file() -> None:
    world = World.open(WORLDS / "on-loan.toml")

    world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dream request=d-2")

    assert world.request("R2").bib_id == "b-dream"
    world.close()


def test_world_may_override_a_patron_and_an_item_of_its_base(tmp_path: Path) -> None:
    file = tmp_path / "w.toml"
    reader = "[[patrons]]\nbarcode = 'UG1'\nlanguage = 'zh-Hant'\n"
    copy = "[[holdings]]\nagency = 'CUHK'\nbarcode = 'C1'\nstatus = 'On Loan'\n"
    file.write_text(f"based_on = '{WORLDS / 'consortium.toml'}'\n{reader}{copy}", "utf-8")
    world = World.open(file)

    world.tell("HKU-DISCOVERY", WISH)

    assert world.request("R1").partner == "HKUST"
    patron = world.store.now(lambda unit: unit.patrons.find("UG1"))
    assert patron is not None
    assert patron.language == "zh-Hant"
    world.close()


def test_work_due_while_time_passes_runs_at_its_due_time(world: World) -> None:
    world.peers.script("CUHK", *manner("503 x2"))
    world.tell("HKU-DISCOVERY", WISH)
    world.pump()

    world.wait(timedelta(seconds=2))
    assert world.outbox()[0].attempts == 2
    world.wait(timedelta(hours=1))
    assert world.outbox() == ()


def test_time_cannot_run_backwards(world: World) -> None:
    with pytest.raises(ValueError, match="backwards"):
        world.go_to(datetime.fromisoformat("2017-02-28T10:00+08:00"))


def test_restarted_world_keeps_its_state(world: World) -> None:
    world.crash()
    with pytest.raises(Died):
        world.tell("HKU-DISCOVERY", WISH)

    world.restart()

    with pytest.raises(KeyError):
        world.request("R1")


def test_messages_claimed_before_a_crash_are_delivered_afterwards(world: World) -> None:
    world.tell("HKU-DISCOVERY", WISH)
    world.crash(2)  # the claim is committed, but the outcome is not
    with pytest.raises(Died):
        world.pump()

    world.restart()
    world.pump()

    assert world.peers.unasked() == ["CUHK RequestItem", "CUHK RequestItem"]
    assert world.outbox() == ()


def test_terminal_logs_in_before_its_first_message(world: World) -> None:
    assert world.sip2("counter-1", "9900802.00").startswith("98YYY")


def test_restart_disconnects_terminals(world: World) -> None:
    world.sip2("counter-1", "9900802.00")

    world.restart()

    assert world.sip2("counter-1", "9900802.00").startswith("98YYY")


def test_pin_is_checked_without_a_slow_hash(world: World) -> None:
    right = world.sip2("counter-1", "6300120170301    100000          AOHKU|AAUG1|AC|AD1234|")
    wrong = world.sip2("counter-1", "6300120170301    100000          AOHKU|AAUG1|AC|AD4321|")

    assert "|CQY|" in right
    assert "|CQN|" in wrong
