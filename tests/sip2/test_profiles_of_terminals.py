"""Options of a terminal model: disclosure of names, form of refusals, and the currency."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from hkall_gateway.db.database import finished
from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message, decode
from hkall_gateway.sip2.codec.session import Session
from hkall_gateway.sip2.dispatch import Sip2Services, respond

P = Position
DATE = "20170301    100000"
Place = Callable[..., Request]


@pytest.fixture
def told(services: Sip2Services) -> Callable[..., Sip2Message]:
    """The reply to a message of a counter whose dialect is the standard one with these changes."""

    def ask(line: str, **make: Any) -> Sip2Message:
        dialect = replace(DIALECTS["standard"], name=f"made of {make}", **make)
        row = replace(services.terminals["counter-1"], dialect=dialect)
        session = Session(dialect)
        session.log_in(row.login, dialect)
        (piece,) = session.receive(line.encode() + b"\r")
        made = replace(services, terminals={row.login: row})
        return decode(finished(respond(made, session, piece, "10.0.0.7")), dialect)  # type: ignore[arg-type]  # a message

    return ask


def test_name_is_returned_after_a_wrong_pin_only_in_dialects_without_pins(
    told: Callable[..., Sip2Message],
) -> None:
    wrong = f"63001{DATE}{' ' * 10}AOHKU|AAP1|AC|AD9999|"
    assert [told(wrong, disclose=how).get("AE") for how in ("after_pin", "card")] == ["", "Chan Tai Man"]
    assert [told(wrong, disclose=how).get("CQ") for how in ("after_pin", "card")] == ["N", "N"]


def test_reply_to_a_refused_checkin_follows_the_dialect(told: Callable[..., Sip2Message]) -> None:
    line = f"09N{DATE}{DATE}AP|AOHKU|ABNOTHING|AC|"
    flags = ("ok", "resensitize", "alert")
    assert [told(line).get(flag) for flag in flags] == ["0", "N", "Y"]
    assert [told(line, no_checkin="resensitize").get(flag) for flag in flags] == ["0", "Y", "N"]


def test_currency_follows_the_terminal(told: Callable[..., Sip2Message], place: Place) -> None:
    place(P.ON_LOAN, due=date(2017, 2, 19), used=True)
    back = told(f"09N{DATE}{DATE}AP|AOHKU|ABC1|AC|", currency="CAD")
    assert back.all("AF")[0].endswith("Fine CAD 20.00")
    paid = told(f"37{DATE}0400CADBV5.00|AOHKU|AAP1|", currency="CAD")
    assert (paid.get("payment_accepted"), paid.get("AF")) == ("Y", "CAD 5.00 received. Still owed: CAD 15.00")
    assert told(f"37{DATE}0400USDBV5.00|AOHKU|AAP1|", currency="CAD").get("payment_accepted") == "N"


def test_checked_in_item_has_no_due_date(told: Callable[..., Sip2Message], place: Place) -> None:
    place(P.ON_LOAN, due=date(2017, 3, 2), used=True)
    told(f"09N{DATE}{DATE}AP|AOHKU|ABC1|AC|")
    reply = told(f"29NN{DATE}{' ' * 18}AOHKU|AAP1|ABC1|AC|")
    assert (reply.get("ok"), reply.get("AH")) == ("0", "")
