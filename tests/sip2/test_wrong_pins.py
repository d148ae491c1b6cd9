"""Wrong PINs: logged, counted, and no longer checked after too many."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from hkall_gateway.net.limits.rate_limiter import OF_A_TERMINAL, OF_AN_ADDRESS, Ways
from hkall_gateway.rules.vocabulary import Sensitive
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message, decode
from hkall_gateway.sip2.codec.session import Session
from hkall_gateway.sip2.dispatch import Sip2Services
from hkall_gateway.sip2.exchange import Exchange
from tests.metrics import value

DATE = "20170301    100000"
BLANK = " " * 18
TOO_MANY = ("Too many wrong PINs here. Please try again later, or ask at the counter",)
Fields = Callable[[str, str], Sip2Message]


def _63(pin: str, card: str = "P1") -> str:
    return f"63001{DATE}          AOHKU|AA{card}|AC|AD{pin}|"


def guess(fields: Fields, times: int, login: str = "counter-1") -> None:
    for number in range(times):
        fields(login, _63(f"9{number:03}", f"P{1 + number % 3}"))


@pytest.mark.parametrize(
    "said",
    [
        _63("9999"),
        f"23001{DATE}AOHKU|AAP1|AC|AD9999|",
        f"11NN{DATE}{BLANK}AOHKU|AAP1|ABC1|AC|AD9999|",
        f"29NN{DATE}{BLANK}AOHKU|AAP1|ABC1|AC|AD9999|",
        f"65{DATE}AOHKU|AAP1|AC|AD9999|",
        f"37{DATE}0400HKDBV1.00|AOHKU|AAP1|AD9999|",
        f"15+{DATE}AOHKU|AAP1|AD9999|AJDune|",
        f"25{DATE}AOHKU|AAP1|AC|AD9999|",
    ],
)
def test_wrong_pin_is_logged_and_counted_for_every_message(services: Sip2Services, fields: Fields, said: str) -> None:
    with capture_logs() as logs:
        fields("counter-1", said)
    (wrong,) = [log for log in logs if log["event"] == "sip2.pin_wrong"]
    assert (wrong["log_level"], wrong["card"], wrong["peer"]) == ("warning", Sensitive("P1"), "10.0.0.7")
    assert value(services.metrics, "wrong_pins_total", "sip2", "counter-1") == 1


@pytest.mark.parametrize("said", [_63("1234"), _63(""), _63("9999", "NOBODY"), f"35{DATE}AOHKU|AAP1|AC|AD9999|"])
def test_correct_missing_and_unknown_card_pins_are_not_counted_as_wrong(fields: Fields, said: str) -> None:
    with capture_logs() as logs:
        fields("counter-1", said)
    assert [log for log in logs if log["event"] == "sip2.pin_wrong"] == []


def test_terminal_with_a_few_mistyped_pins_keeps_working(fields: Fields) -> None:
    guess(fields, OF_A_TERMINAL - 1)
    assert fields("counter-1", _63("1234")).get("CQ") == "Y"


def test_too_many_wrong_pins_suspend_pin_checks_at_a_terminal_but_not_other_messages(fields: Fields) -> None:
    guess(fields, OF_A_TERMINAL)
    for pin in ("1234", "9999"):
        reply = fields("counter-1", _63(pin))
        assert (reply.get("AE"), reply.get("CQ"), reply.all("AF")) == ("", "N", TOO_MANY)
    assert fields("counter-1", f"11NN{DATE}{BLANK}AOHKU|AAP1|ABC1|AC|AD1234|").all("AF") == TOO_MANY
    assert fields("counter-1", _63("")).get("BL") == "Y"
    assert fields("counter-1", f"35{DATE}AOHKU|AAP1|AC|AD1234|").get("end_session") == "Y"
    assert fields("counter-2", _63("1234")).get("CQ") == "Y"


@pytest.mark.parametrize(("card", "valid"), [("P1", "Y"), ("NOBODY", "N")])
def test_known_card_stays_valid_while_pins_are_refused(fields: Fields, card: str, valid: str) -> None:
    guess(fields, OF_A_TERMINAL)
    for line in (_63("1234", card), f"23001{DATE}AOHKU|AA{card}|AC|AD1234|", f"25{DATE}AOHKU|AA{card}|AC|AD1234|"):
        reply = fields("counter-1", line)
        assert (reply.get("BL"), reply.get("CQ"), reply.all("AF")) == (valid, "N", TOO_MANY)


def test_pins_are_checked_again_after_fifteen_minutes(fields: Fields, clock: list[datetime]) -> None:
    guess(fields, OF_A_TERMINAL)
    clock[0] += timedelta(minutes=15)
    assert fields("counter-1", _63("1234")).get("CQ") == "Y"


def test_terminals_of_one_ipv6_network_share_a_limit(services: Sip2Services) -> None:
    def ways(peer: str) -> Ways:
        message, row = decode(_63("9999").encode(), DIALECTS["standard"]), services.terminals["counter-1"]
        return Exchange(services, Session(DIALECTS["standard"]), message, row, peer, services.now(), "corr").guess_sources

    assert ways("2001:db8::1") == ways("2001:db8::2") != ways("2001:db8:0:1::1")


def test_address_that_guesses_through_many_terminals_is_limited(fields: Fields) -> None:
    logins = ("counter-1", "selfcheck-1", "zh-1", "iso-1")
    for login in logins:
        guess(fields, OF_AN_ADDRESS // len(logins), login)
    assert fields("counter-2", _63("1234")).all("AF") == TOO_MANY
