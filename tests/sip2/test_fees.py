"""Payments at a terminal (37), and the balance in 23 and 63."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.db.fines import charge
from hkall_gateway.rules.vocabulary import Actor, Position, Request
from hkall_gateway.simulator.databases import SoleStore
from hkall_gateway.sip2.codec.lines import Sip2Message
from hkall_gateway.sip2.exchange import dollars
from hkall_gateway.sip2.handlers.patrons import cents_of

P = Position
DATE = "20170301    100000"
NOW = datetime(2017, 3, 1, tzinfo=UTC)
Place = Callable[..., Request]
Fields = Callable[[str, str], Sip2Message]
Owe = Callable[..., None]


@pytest.fixture
def owe(place: Place, store: SoleStore) -> Owe:
    """Charge P1 this many cents for each item."""

    def owing(*cents: int) -> None:
        for number, amount in enumerate(cents, start=7):
            book = place(P.RETURN_TRANSIT, item_barcode=f"C{number}", title=f"Book {number}", due=date(2017, 2, 1))
            store.now(charge, book, "overdue", amount, "R40", NOW, Actor(who="test", channel="world"))

    return owing


def _37(amount: str, more: str = "", card: str = "P1", currency: str = "HKD") -> str:
    return f"37{DATE}0400{currency}BV{amount}|AOHKU|AA{card}|{more}"


def _owed(store: SoleStore) -> int:
    owed: int = store.now(lambda unit: unit.patrons.owed_cents("P1"))
    return owed


def test_payment_is_accepted_and_the_balance_returned(owe: Owe, store: SoleStore, fields: Fields) -> None:
    owe(600, 400)
    reply = fields("counter-1", _37("7.50", "BKt-1|"))
    assert (reply.code, reply.get("payment_accepted"), reply.get("BK")) == ("38", "Y", "t-1")
    assert reply.all("AF") == ("HKD 7.50 received. Still owed: HKD 2.50",)
    assert _owed(store) == 250


def test_repeated_transaction_is_confirmed_and_charged_once(owe: Owe, store: SoleStore, fields: Fields) -> None:
    owe(1000)
    first = fields("counter-1", _37("2.00", "BKt-1|"))
    assert fields("counter-1", _37("2.00", "BKt-1|")).fields == first.fields
    assert _owed(store) == 800


def test_same_transaction_id_with_another_amount_is_refused(owe: Owe, store: SoleStore, fields: Fields) -> None:
    owe(1000)
    fields("counter-1", _37("2.00", "BKt-1|"))
    assert fields("counter-1", _37("3.00", "BKt-1|")).get("payment_accepted") == "N"
    assert _owed(store) == 800


def test_same_transaction_id_at_another_terminal_is_another_payment(owe: Owe, store: SoleStore, fields: Fields) -> None:
    owe(1000)
    fields("counter-1", _37("2.00", "BKt-1|"))
    assert fields("counter-2", _37("2.00", "BKt-1|")).get("payment_accepted") == "Y"
    assert _owed(store) == 600


def test_repeated_payment_without_a_transaction_id_is_a_second_payment(owe: Owe, store: SoleStore, fields: Fields) -> None:
    owe(1000)
    fields("counter-1", _37("2.00"))
    fields("counter-1", _37("2.00"))
    assert _owed(store) == 600


def test_payment_above_the_balance_is_refused(owe: Owe, store: SoleStore, fields: Fields) -> None:
    owe(1000)
    reply = fields("counter-1", _37("10.01", "BKt-1|"))
    assert (reply.get("payment_accepted"), reply.get("BK")) == ("N", "t-1")
    assert reply.all("AF") == ("Not taken: HKD 10.00 is owed (R40)",)
    assert _owed(store) == 1000


def test_charge_is_selected_by_its_number_in_the_list(owe: Owe, store: SoleStore, fields: Fields) -> None:
    owe(600, 400)
    (first, second) = fields("counter-1", f"63000{DATE}   Y      AOHKU|AAP1|").all("AV")
    assert (first, second) == ("#1 C7 HKD 6.00 overdue", "#2 C8 HKD 4.00 overdue")
    assert fields("counter-1", _37("4.00", "CG#2|")).get("payment_accepted") == "Y"
    assert fields("counter-1", f"63000{DATE}   Y      AOHKU|AAP1|").all("AV") == (first,)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (_37("1.00", "CG9|"), "There is no such fee (R40)"),
        (_37("1.00", "CGx|"), "There is no such fee (R40)"),
        (_37("", ""), "The terminal's message could not be read"),
        (_37("-1.00"), "The terminal's message could not be read"),
        (_37("1.005"), "The terminal's message could not be read"),
        (_37("1.00", card=""), "The terminal's message could not be read"),
        (_37("0.00"), "Not taken: HKD 10.00 is owed (R40)"),
        (_37("1.00", currency="USD"), "Not supported here"),
        (_37("1.00", "AD9999|"), "The PIN is missing or wrong (R10)"),
    ],
)
def test_invalid_payment_is_refused_with_its_reason(owe: Owe, store: SoleStore, fields: Fields, said: str, text: str) -> None:
    owe(1000)
    reply = fields("counter-1", said)
    assert (reply.get("payment_accepted"), reply.all("AF")) == ("N", (text,))
    assert _owed(store) == 1000


def test_payment_without_a_required_pin_is_refused(owe: Owe, fields: Fields) -> None:
    owe(1000)
    assert fields("pin-1", _37("1.00")).get("payment_accepted") == "N"
    assert fields("pin-1", _37("1.00", "AD1234|")).get("payment_accepted") == "Y"


def test_status_and_information_return_the_same_balance(owe: Owe, fields: Fields) -> None:
    owe(600, 450)
    status = fields("counter-1", f"23000{DATE}AOHKU|AAP1|AC|AD|")
    information = fields("counter-1", f"63000{DATE}          AOHKU|AAP1|")
    assert status.get("BV") == information.get("BV") == "10.50"
    assert information.get("fine_items_count") == "0002"


def test_charges_are_listed_with_titles_at_terminals_that_show_titles(owe: Owe, fields: Fields) -> None:
    owe(600)
    assert fields("staff-1", f"63000{DATE}   Y      AOHKU|AAP1|").all("AV") == ("#1 C7 Book 7 HKD 6.00 overdue",)


@pytest.mark.parametrize(
    ("text", "cents"),
    [
        ("12", 1200),
        ("12.5", 1250),
        (" 12.50 ", 1250),
        ("HKD 12,50", 1250),
        ("$0.05", 5),
        ("1,234.50", None),
        ("--1", None),
        ("1.999", None),
        ("ten", None),
        ("9" * 40, None),
    ],
)
def test_amount_is_parsed_to_the_cent_or_refused(text: str, cents: int | None) -> None:
    assert cents_of(text) == cents


@given(st.integers(0, 10**9))
def test_amount_round_trips(cents: int) -> None:
    assert cents_of(dollars(cents)) == cents
