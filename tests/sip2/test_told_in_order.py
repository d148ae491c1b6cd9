"""Messages to the local system after an outage: each once, and in their original order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from hkall_gateway.circulation.partners.deliveries import Delivered
from hkall_gateway.circulation.ports import Unreachable
from hkall_gateway.circulation.results import DeliveryResult
from hkall_gateway.db.database import finished
from hkall_gateway.db.engine.db_errors import Unavailable
from hkall_gateway.db.outbox import UNSETTLED, OutboxRow
from hkall_gateway.rules.circuit import CircuitSettings, CircuitState
from hkall_gateway.rules.messages.outbox_messages import ILS_RECIPIENT, LocalMessage
from hkall_gateway.rules.stored_words import DeliveryKind, OutboxState
from hkall_gateway.rules.vocabulary import Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.client import NOBODY, HungUp, Unanswered
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message
from hkall_gateway.sip2.codec.session import Session
from hkall_gateway.sip2.dispatch import Sip2Services, respond

DATE = "20170301    100000"
BLOCK, ENABLE = f"01N{DATE}AOHKU|ALlost|AAP1|AC|", f"25{DATE}AOHKU|AAP1|AC|"
BACK = f"09N{DATE}{DATE}AP|AOHKU|ABL1|AC|"
PAYMENT = f"37{DATE}0100HKDBV3.50|AOHKU|AAP1|AC|BKt-1|"
MINUTE = timedelta(seconds=60)
LOAN = f"11NN{DATE}{' ' * 18}AOHKU|AAP1|ABL1|AC|"
AWAY = Unreachable("away")
ANSWERS = {
    "01": f"24{' ' * 14}001{DATE}AOHKU|AAP1|AEChan|BLY|",
    "09": f"101YUN{DATE}AOHKU|ABL1|AQHKU|AJEmma|",
    "11": f"121NUY{DATE}AOHKU|AAP1|ABL1|AJEmma|AH|",
    "17": f"18040101{DATE}ABL1|AJEmma|",
    "25": f"26{' ' * 14}001{DATE}AOHKU|AAP1|AEChan|BLY|",
    "63": f"64{' ' * 14}001{DATE}{'0000' * 6}AOHKU|AAP1|AEChan|BLY|",
    "37": f"38Y{DATE}AOHKU|AAP1|BKt-1|",
}


class FakeUpstream:
    """The local system behind a terminal, which replies normally or fails as scripted."""

    dialect, login, up, refused = DIALECTS["standard"], NOBODY, True, False

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.says, self.closed = dict(ANSWERS), 0
        self.heard: list[str] = []
        self.during: Callable[[], None] = lambda: None

    async def __call__(self, body: bytes) -> bytes:
        code = body[:2].decode()
        self.during()
        if self.fails:
            raise self.fails
        self.heard.append(code)
        return self.says[code].encode()

    def close(self) -> None:
        self.closed += 1


def only_line(link: CircuitState, under_way: int) -> int:
    """Return courier limits that allow one message at a time to the local system, and no letters or partner messages."""
    return 1 - under_way if link.agency == ILS_RECIPIENT else 0


class World:
    def __init__(self, services: Sip2Services, store: SoleStore, clock: list[datetime]) -> None:
        self.services, self.store, self.clock, self.upstream = services, store, clock, FakeUpstream()

    def asks(self, line: str, fails: Exception | None = None, login: str = "counter-1") -> str:
        self.upstream.fails = fails
        session = Session(DIALECTS["standard"])
        session.log_in(login, self.services.terminals[login].dialect)
        (piece,) = session.receive(line.encode() + b"\r")
        assert isinstance(piece, Sip2Message)
        return finished(respond(self.services, session, piece, "10.0.0.7", self.upstream)).decode()

    def during_the_first(self, line: str) -> None:
        """While the first message is in flight, send and answer another one, and leave the first unanswered."""
        self.upstream.during = lambda: None
        self.asks(line)
        self.upstream.fails = Unanswered("TimeoutError")

    def waits(self, *states: OutboxState) -> list[str]:
        """Return the unsettled messages, in order."""
        return [row.send.value for row in self.rows(*states)]

    def rows(self, *states: OutboxState) -> tuple[OutboxRow, ...]:
        return self.store.now(lambda unit: unit.outbox.rows(partner=ILS_RECIPIENT, states=states or UNSETTLED))

    def claims(self) -> tuple[OutboxRow, ...]:
        return self.store.now(lambda unit: unit.outbox.claim(self.clock[0], "gateway", 600, 64, only_line))

    def delivers(self, kind: str = "accepted") -> list[str]:
        """Let the courier send what it may, one message at a time, with these replies."""
        told = []
        while rows := self.claims():
            for row in rows:
                told.append(row.send.value)
                finished(
                    self.services.circulation.execute(
                        Delivered(
                            row=row,
                            answer=DeliveryResult(kind=DeliveryKind(kind)),
                            retry_at=None,
                            circuit_settings=CircuitSettings(),
                        )
                    )
                )
        return told


@pytest.fixture
def world(services: Sip2Services, store: SoleStore, clock: list[datetime]) -> World:
    return World(services, store, clock)


def lent(place: Callable[..., Request], number: int = 0) -> Request:
    """Create a request for our own item L1, which a partner borrowed and is returning."""
    copy = {"item_agency": "HKU", "item_barcode": "L1", "pickup_location": ""}
    facts: dict[str, Any] = {"side": Side.LENDING, "patron": "", "partner": "CUHK", **copy}
    return place(Position.RETURN_TRANSIT, due=date(2017, 3, 16), wire_id=f"CUHK:{number}", **facts)


def test_enabling_a_card_does_not_overtake_its_queued_block(world: World) -> None:
    assert "is told later" in world.asks(BLOCK, AWAY)
    assert "is told later" in world.asks(ENABLE)
    assert world.upstream.heard == []
    assert world.delivers() == ["tell_ils_blocked", "tell_ils_enabled"]


def test_message_sent_immediately_stays_in_the_outbox_until_it_is_answered(world: World) -> None:
    """If the gateway ends meanwhile, the courier sends it as a message of unknown outcome."""
    seen: list[list[OutboxRow]] = []
    world.upstream.during = lambda: seen.append(list(world.rows()))
    world.asks(BLOCK)
    assert [(row.send.value, row.state) for row in seen[0]] == [("tell_ils_blocked", "unsure")]
    assert world.claims() == ()
    assert world.waits() == []


def test_courier_does_not_take_a_message_that_is_being_sent_immediately(world: World) -> None:
    taken: list[OutboxRow] = []
    world.upstream.during = lambda: taken.extend(world.claims())
    world.asks(BLOCK)
    assert taken == []


def test_courier_resends_an_unanswered_message_after_a_minute(world: World) -> None:
    def ends() -> None:
        raise KeyboardInterrupt

    world.upstream.during = ends
    with pytest.raises(KeyboardInterrupt):
        world.asks(BLOCK)
    world.clock[0] += timedelta(seconds=61)
    assert [row.state for row in world.claims()] == ["unsure"]


@pytest.mark.parametrize(
    ("lost", "state"), [(AWAY, "waiting"), (Unanswered("TimeoutError"), "unsure"), (HungUp("ConnectionDone"), "unsure")]
)
def test_message_of_unknown_outcome_is_marked_when_resent(world: World, lost: Exception, state: str) -> None:
    world.asks(BLOCK, lost)
    assert [row.state for row in world.claims()] == [state]


def test_refused_block_does_not_hold_back_later_messages_of_its_card(world: World) -> None:
    world.asks(BLOCK, AWAY)
    world.delivers("refused")
    assert world.waits() == ["tell_ils_blocked"]
    world.asks(ENABLE)
    assert (world.upstream.heard, world.waits()) == (["25"], [])


def test_dead_letter_does_not_hold_back_later_messages(world: World) -> None:
    world.asks(BLOCK, AWAY)
    world.asks(ENABLE, AWAY)
    (row,) = world.claims()
    finished(
        world.services.circulation.execute(
            Delivered(
                row=row, answer=DeliveryResult(kind=DeliveryKind.REFUSED), retry_at=None, circuit_settings=CircuitSettings()
            )
        )
    )
    assert (world.waits(), world.claims()) == (["tell_ils_blocked", "tell_ils_enabled"], ())
    world.asks(BLOCK)
    assert (world.upstream.heard, world.waits()) == (["01"], [])


def test_late_return_does_not_check_in_an_item_that_was_lent_again(world: World, place: Callable[..., Request]) -> None:
    request = lent(place)
    assert "is told later" in world.asks(BACK, AWAY)
    assert [row.request for row in world.rows()] == [request.id]
    world.asks(LOAN)
    assert world.upstream.heard == ["11"]
    assert world.delivers() == []


def test_checkout_waits_for_the_message_in_flight_about_its_item(world: World, place: Callable[..., Request]) -> None:
    lent(place)
    world.asks(BACK, AWAY)
    (row,) = world.claims()
    assert world.asks(LOAN).startswith("120")
    assert world.upstream.heard == []
    finished(
        world.services.circulation.execute(
            Delivered(
                row=row, answer=DeliveryResult(kind=DeliveryKind.ACCEPTED), retry_at=None, circuit_settings=CircuitSettings()
            )
        )
    )
    assert world.asks(LOAN).startswith("121")


def test_queued_message_does_not_undo_a_later_request_of_the_patron(world: World) -> None:
    world.asks(LOAN, Unanswered("TimeoutError"))
    taken: list[OutboxRow] = []
    world.upstream.during = lambda: taken.extend(world.claims())
    assert world.asks(LOAN).startswith("121")
    assert (taken, world.waits()) == ([], ["check_ils_copy"])


@pytest.mark.parametrize(
    ("said", "kept"), [(LOAN, "check_ils_loan"), (BACK, "check_ils_return"), (PAYMENT, "check_ils_payment")]
)
def test_transaction_at_the_local_system_stays_in_the_outbox_until_it_is_answered(world: World, said: str, kept: str) -> None:
    """If the gateway is killed meanwhile, the courier looks it up after a minute; an answered one is deleted."""
    seen: list[list[OutboxRow]] = []
    world.upstream.during = lambda: seen.append(list(world.rows()))
    world.asks(said)
    assert [(row.send.value, row.state, row.next_at) for row in seen[0]] == [(kept, "unsure", world.clock[0] + MINUTE)]
    assert world.rows(*OutboxState) == ()


@pytest.mark.parametrize(("answered", "holder"), [(BACK, ""), (LOAN, "P1"), (LOAN.replace("AAP1", "AAP2"), "P2")])
def test_item_is_looked_up_again_while_an_unanswered_checkout_may_still_be_carried_out(
    world: World, answered: str, holder: str
) -> None:
    """The answered message came first, but the unanswered one may be carried out after it."""
    world.upstream.says["11"] = world.upstream.says["11"].replace("AAP1|", "")
    world.asks(LOAN, Unanswered("TimeoutError"))
    sent_at = world.clock[0]
    world.clock[0] += timedelta(seconds=20)
    assert world.asks(answered)[2] == "1"
    (row,) = world.rows()
    assert isinstance(row.payload, LocalMessage)
    assert (row.send, row.payload.patron, row.next_at) == ("check_ils_copy", holder, sent_at + MINUTE)


def test_window_of_late_execution_is_a_matter_of_configuration(world: World) -> None:
    world.services = replace(world.services, late_execution=timedelta(seconds=10))
    world.asks(LOAN, Unanswered("TimeoutError"))
    world.clock[0] += timedelta(seconds=10)
    world.asks(BACK)
    assert world.waits() == []


def test_each_answered_message_renews_what_is_expected_of_the_item(world: World) -> None:
    world.asks(LOAN, Unanswered("TimeoutError"))
    for answered, seconds in ((LOAN, 20), (BACK, 10)):
        world.clock[0] += timedelta(seconds=seconds)
        world.asks(answered)
    (row,) = world.rows()
    assert isinstance(row.payload, LocalMessage)
    assert (row.payload.patron, row.next_at) == ("", world.clock[0] + timedelta(seconds=30))


# ---- transactions that a terminal has carried out off line


def offline(line: str) -> str:
    return line.replace("N2017", "Y2017", 1)


@pytest.mark.parametrize("lost", [AWAY, Unanswered("TimeoutError"), HungUp("closed")])
@pytest.mark.parametrize(("said", "kept"), [(LOAN, "tell_ils_lent"), (BACK, "tell_ils_back")])
def test_offline_transaction_is_taken_whatever_the_local_system_does(
    world: World, said: str, kept: str, lost: Exception
) -> None:
    reply = world.asks(offline(said), lost, "offline-2")
    assert reply[2] == "1"
    assert "Taken. The library's own system is told later" in reply
    assert [row.send.value for row in world.rows()] == [kept]


def test_offline_transactions_of_one_item_reach_the_local_system_in_order(world: World) -> None:
    for line, lost in ((LOAN, AWAY), (BACK, None), (LOAN.replace("AAP1", "AAP2"), None)):
        assert world.asks(offline(line), lost, "offline-2")[2] == "1"
    assert world.upstream.heard == []
    told = [(row.send.value, row.payload.patron) for row in world.rows() if isinstance(row.payload, LocalMessage)]
    assert told == [("tell_ils_lent", "P1"), ("tell_ils_back", ""), ("tell_ils_lent", "P2")]


def test_offline_loan_keeps_the_date_that_the_terminal_printed(world: World) -> None:
    line = offline(LOAN).replace(" " * 18, "20170315    235959")
    assert "AH20170315    235959|" in world.asks(line, AWAY, "offline-2")


def test_answer_of_the_local_system_to_an_offline_transaction_is_passed_on(world: World) -> None:
    world.upstream.says["11"] = refusal = f"120NUN{DATE}AOHKU|AAP1|ABL1|AJEmma|AH|AFAlready lent|"
    assert world.asks(offline(LOAN), None, "offline-2").strip() == refusal
    assert world.waits() == []


def test_offline_transaction_is_refused_when_it_cannot_be_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def unavailable(*_: object, **__: object) -> None:
        raise Unavailable

    monkeypatch.setattr(world.store, "write", unavailable)
    assert world.asks(offline(LOAN), AWAY, "offline-2").startswith("120")


def test_transaction_that_was_never_sent_needs_no_lookup(world: World) -> None:
    world.asks(LOAN, AWAY)
    assert world.rows(*OutboxState) == ()


@pytest.mark.parametrize(("said", "kept"), [(LOAN, "tell_ils_lent"), (BACK, "tell_ils_back")])
def test_unanswered_offline_transaction_is_resent(world: World, said: str, kept: str) -> None:
    world.asks(said.replace("N2017", "Y2017", 1), Unanswered("TimeoutError"), "offline-2")
    assert [(row.send.value, row.state) for row in world.rows()] == [(kept, "unsure")]


def test_checkout_is_looked_up_even_after_a_later_return(world: World) -> None:
    """The return was answered first, but the checkout may be executed after it."""
    world.upstream.during = lambda: world.during_the_first(BACK)
    world.asks(LOAN)
    assert world.waits() == ["check_ils_copy", "check_ils_loan"]


@pytest.mark.parametrize("reply", [f"121NUY{DATE}AOHKU|AAP9|ABL1|AJEmma|AH|", f"121NUY{DATE}AOHKU|AAP1|ABL9|AJEmma|AH|"])
def test_reply_naming_another_patron_or_item_is_not_relayed(world: World, reply: str) -> None:
    world.upstream.says["11"] = reply
    said = world.asks(LOAN)
    assert said.startswith("120")
    assert "may have been done" in said
    assert (world.waits(), world.upstream.closed) == (["check_ils_loan"], 1)


def test_reply_may_use_identifiers_of_the_local_system(world: World) -> None:
    reply = f"121NUY{DATE}AOHKU|AAU77|ABi9|AJEmma|AH|"
    world.upstream.says |= {
        "11": reply,
        "17": f"18040101{DATE}ABi9|AJEmma|",
        "63": f"64{' ' * 14}001{DATE}{'0000' * 6}AOHKU|AAU77|AEChan|BLY|",
    }
    assert world.asks(LOAN).strip() == reply
    assert (world.upstream.heard, world.waits()) == (["11", "63", "17"], [])


@pytest.mark.parametrize(("seen", "was_in"), [("03", True), ("04", False), ("01", False)])
def test_item_is_looked_up_before_checkout_when_unanswered_checkouts_are_undone(world: World, seen: str, was_in: bool) -> None:
    world.services = replace(world.services, undoes_checkouts=True)
    world.upstream.says["17"] = f"18{seen}0101{DATE}ABL1|AJEmma|"
    world.upstream.during = lambda: setattr(world.upstream, "fails", Unanswered("x") if world.upstream.heard else None)
    world.asks(LOAN)
    (row,) = world.rows()
    assert isinstance(row.payload, LocalMessage)
    assert (world.upstream.heard, row.payload.was_in) == (["17"], was_in)


@pytest.mark.parametrize("lost", [AWAY, Unanswered("TimeoutError")])
def test_checkout_is_not_sent_when_its_item_cannot_be_looked_up(world: World, lost: Exception) -> None:
    world.services = replace(world.services, undoes_checkouts=True)
    said = world.asks(LOAN, lost)
    assert (said.startswith("120"), "may have been done" in said, world.waits()) == (True, False, [])


def test_messages_about_one_copy_are_delivered_in_order_across_requests(world: World, place: Callable[..., Request]) -> None:
    first = lent(place, 1)
    world.asks(BACK, AWAY)
    second = lent(place, 2)
    assert "is told later" in world.asks(BACK)
    assert world.upstream.heard == []
    assert [row.request for row in world.claims()] == [first.id]
    assert [row.request for row in world.rows()] == [first.id, second.id]


def test_queued_messages_contain_no_pin(world: World) -> None:
    world.asks(ENABLE + "AD1234|", AWAY)
    world.asks(BLOCK.replace("AC|", "ACterminal-secret|"), AWAY)
    told = "".join(f"{row}" for row in world.rows())
    assert "P1" in told
    assert "1234" not in told
    assert "terminal-secret" not in told
