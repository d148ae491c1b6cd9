"""Blocking a card at a terminal and lifting it: 01 and 25."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from sqlalchemy import select, update

from hkall_gateway.db.tables import CARD_BLOCKS, JOURNAL, PATRONS
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.lines import Sip2Message
from hkall_gateway.sip2.dispatch import Sip2Services
from tests.metrics import value

P = Position
DATE = "20170301    100000"
DENIED, FINE = "YYYY" + " " * 10, " " * 14
"""The privileges denied to a blocked or unknown card: all four."""
Place = Callable[..., Request]
Fields = Callable[[str, str], Sip2Message]


def _01(card: str = "P1", text: str = "left in the machine", retained: str = "Y") -> str:
    return f"01{retained}{DATE}AOHKU|AL{text}|AA{card}|AC|"


def _25(card: str = "P1", more: str = "") -> str:
    return f"25{DATE}AOHKU|AA{card}|AC|{more}"


def _11(card: str = "P1") -> str:
    return f"11YN{DATE}{'':18}AOHKU|AA{card}|ABC1|AC|"


def _rows(unit: UnitOfWork) -> list[tuple[object, ...]]:
    wanted = select(CARD_BLOCKS.c.card, CARD_BLOCKS.c.who, CARD_BLOCKS.c.reason, CARD_BLOCKS.c.retained)
    return [tuple(row) for row in unit.execute(wanted)]


def _events(unit: UnitOfWork) -> list[str]:
    return list(unit.execute(select(JOURNAL.c.event).where(JOURNAL.c.patron == "P1")).scalars())


def _block_in_the_library(unit: UnitOfWork) -> None:
    unit.execute(update(PATRONS).where(PATRONS.c.barcode == "P1").values(blocked=True))


def test_blocked_card_is_marked_and_the_reason_stored(store: SoleStore, fields: Fields) -> None:
    reply = fields("counter-1", _01())
    assert (reply.code, reply.get("patron_status"), reply.get("BL")) == ("24", DENIED, "Y")
    assert reply.all("AF") == ("Your card is blocked. Please ask at the counter (R2)",)
    assert store.now(_rows) == [("P1", "counter-1", "left in the machine", True)]


def test_blocked_card_cannot_borrow_at_any_terminal(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    fields("counter-2", _01())
    assert fields("counter-1", _11()).get("ok") == "0"


def test_block_by_a_terminal_can_be_lifted_at_another_terminal(place: Place, fields: Fields) -> None:
    place(P.RECEIVED)
    fields("counter-2", _01())
    lifted = fields("counter-1", _25())
    assert (lifted.code, lifted.get("patron_status"), lifted.get("BL")) == ("26", FINE, "Y")
    assert fields("counter-1", _11()).get("ok") == "1"


def test_block_by_the_library_is_not_lifted_by_a_terminal(store: SoleStore, fields: Fields) -> None:
    store.now(_block_in_the_library)
    reply = fields("counter-1", _25())
    assert reply.get("patron_status") == DENIED
    assert reply.all("AF") == ("Your card is blocked. Please ask at the counter (R2)",)


def test_second_block_keeps_the_first_reason(store: SoleStore, fields: Fields) -> None:
    fields("counter-1", _01())
    assert fields("counter-1", _01(text="again", retained="N")).get("patron_status") == DENIED
    assert store.now(_rows) == [("P1", "counter-1", "left in the machine", True)]
    assert store.now(_events) == ["BLOCK_CARD"]


def test_enabling_an_unblocked_card_changes_nothing(store: SoleStore, fields: Fields) -> None:
    assert fields("counter-1", _25()).get("patron_status") == FINE
    assert store.now(_events) == []


@pytest.mark.parametrize("said", [_01("P404"), _25("P404"), _01(""), _25("")])
def test_unknown_card_can_be_neither_blocked_nor_enabled(store: SoleStore, fields: Fields, said: str) -> None:
    reply = fields("counter-1", said)
    assert (reply.get("BL"), reply.get("CQ"), reply.get("patron_status")) == ("N", "N", DENIED)
    assert store.now(_rows) == []


@pytest.mark.parametrize(("login", "pin"), [("pin-1", ""), ("pin-1", "AD9999|"), ("counter-1", "AD9999|")])
def test_card_is_not_enabled_with_a_wrong_or_missing_pin(fields: Fields, login: str, pin: str) -> None:
    fields("counter-1", _01())
    assert fields(login, _25(more=pin)).all("AF") == ("The PIN is missing or wrong (R10)",)
    assert fields("counter-1", _25()).get("patron_status") == FINE


def test_known_card_stays_valid_when_enabled_with_a_wrong_pin(fields: Fields) -> None:
    fields("counter-1", _01())
    reply = fields("counter-1", _25(more="AD9999|"))
    assert (reply.code, reply.get("BL"), reply.get("CQ"), reply.get("patron_status")) == ("26", "Y", "N", DENIED)
    assert fields("counter-1", _25("NOBODY", "AD9999|")).get("BL") == "N"


def test_wrong_pin_in_25_is_counted(services: Sip2Services, fields: Fields) -> None:
    fields("counter-1", _25(more="AD9999|"))
    fields("counter-1", _25(more="AD1234|"))
    assert value(services.metrics, "wrong_pins_total", "sip2", "counter-1") == 1


def test_blocked_card_cannot_renew(place: Place, fields: Fields) -> None:
    place(P.ON_LOAN, first_checkout=date(2017, 2, 14), due=date(2017, 3, 2), used=True)
    renewal = f"29NN{DATE}{'':18}AOHKU|AAP1|ABC1|AC|"
    fields("counter-2", _01())
    reply = fields("counter-1", renewal)
    assert (reply.get("ok"), reply.all("AF")) == ("0", ("Your card is blocked. Please ask at the counter (R2)",))
