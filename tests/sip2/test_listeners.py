"""Ports with special settings: required logins, framing, and load balancers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from twisted.internet.address import IPv4Address

from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.net.proxy_protocol import HEADER_S, WITHOUT_HEADER
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.dispatch import FramingRule, Listener
from hkall_gateway.sip2.server import LOGIN_S
from tests.metrics import value

if TYPE_CHECKING:
    from tests.sip2.conftest import Caller, Port

DATE = "20170301    100000"
LOGIN = b"9300CNcounter-1|COcounter-1-pw|\r"
END = f"35{DATE}AOHKU|AAP1|\r".encode()
ENDED = f"36Y{DATE}AOHKU|AAP1|\r".encode()
LOG_IN_FIRST = f"36N{DATE}AOHKU|AAP1|AFThe terminal must log in first|\r".encode()
BALANCER = IPv4Address("TCP", "10.9.9.9", 40000)
V1 = b"PROXY TCP4 10.0.0.7 10.9.9.9 50000 6001\r\n"
V2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes([10, 0, 0, 7, 10, 9, 9, 9]) + b"\xc3\x50\x17\x71"
PROXY_FROM = AllowList(["10.9.9.0/24"])


def _call(port: Port, listener: Listener, address: IPv4Address = BALANCER) -> Caller:
    return replace(port, listener=listener).call(address, log_in=False)


# ---- login modes


def test_nothing_is_executed_before_a_required_login(port: Port) -> None:
    caller = _call(port, Listener())
    assert caller.hears(END) == LOG_IN_FIRST
    assert caller.hears(LOGIN + END) == b"941\r" + ENDED


def test_port_identifies_its_terminal_when_an_optional_login_is_omitted(port: Port) -> None:
    caller = _call(port, Listener(login="optional", terminal="selfcheck-1"))
    assert caller.hears(END) == ENDED
    assert b"|ANHKU-MAIN-LENDING|" in caller.hears(b"9900302.00\r")


def test_optional_login_identifies_its_terminal(port: Port) -> None:
    listener = Listener(login="optional", terminal="selfcheck-1")
    with_name = replace(port, listener=listener, slow=False)
    line = f"11YN{DATE}{'':18}AOHKU|AAP1|ABX|AC|\r".encode()
    caller = with_name.call(log_in=False)
    assert caller.hears(b"9300CNpin-1|COpin-1-pw|\r") == b"941\r"
    assert b"PIN is missing" in caller.hears(line)


def test_address_identifies_its_only_terminal(port: Port) -> None:
    row = replace(port.services.terminals["counter-1"], allow_from=AllowList(["10.1.1.5"]))
    known = replace(port, services=replace(port.services, terminals={**port.services.terminals, "counter-1": row}))
    alone = replace(known, services=replace(known.services, terminals={"counter-1": row}))
    assert _call(alone, Listener(login="by-address"), IPv4Address("TCP", "10.1.1.5", 1)).hears(END) == ENDED


def test_address_of_several_terminals_requires_a_login(port: Port) -> None:
    caller = _call(port, Listener(login="by-address"))
    assert caller.hears(END) == LOG_IN_FIRST
    assert caller.hears(LOGIN) == b"941\r"


def test_named_terminal_connects_only_from_its_address(port: Port) -> None:
    row = replace(port.services.terminals["counter-1"], allow_from=AllowList(["10.1.1.5"]))
    services = replace(port.services, terminals={**port.services.terminals, "counter-1": row})
    there = replace(port, services=services)
    assert (
        _call(there, Listener(login="by-address", terminal="counter-1"), IPv4Address("TCP", "10.1.1.5", 1)).hears(END) == ENDED
    )
    assert (
        _call(there, Listener(login="by-address", terminal="counter-1"), IPv4Address("TCP", "10.1.1.6", 1)).hears(END)
        == LOG_IN_FIRST
    )


def test_login_timeout_does_not_apply_to_connections_identified_without_a_login(port: Port) -> None:
    listener = Listener(login="optional", terminal="selfcheck-1")
    caller = _call(port, listener)
    caller.line._port.clock.advance(LOGIN_S + 1)
    assert not caller.hung_up


# ---- telnet


def test_telnet_asks_for_name_and_password_and_then_speaks_sip2(port: Port) -> None:
    caller = _call(port, Listener(login="telnet"))
    assert caller.hears() == b"login: "
    assert caller.hears(b"counter-1\r\n") == b"password: "
    assert caller.hears(b"counter-1-pw\r\n") == b"Login OK.  Initiating SIP\r\n"
    assert caller.hears(END) == ENDED


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\r\0"])
def test_telnet_login_accepts_any_line_ending_and_a_single_segment(port: Port, end: bytes) -> None:
    caller = _call(port, Listener(login="telnet"))
    caller.hears()
    said = caller.hears(b"counter-1" + end + b"counter-1-pw" + end + END)
    assert said == b"password: Login OK.  Initiating SIP\r\n" + ENDED


def test_telnet_negotiation_is_removed_from_the_name(port: Port) -> None:
    caller = _call(port, Listener(login="telnet"))
    caller.hears()
    assert caller.hears(b"\xff\xfd\x03\xff\xfb\x18counter-1\r\n\xff\xf1counter-1-pw\r\n").endswith(b"Initiating SIP\r\n")


def test_third_wrong_telnet_login_closes_the_connection(port: Port) -> None:
    caller = _call(port, Listener(login="telnet"))
    caller.hears()
    wrong = b"counter-1\r\nwrong\r\n"
    assert caller.hears(wrong) == b"password: Login incorrect\r\nlogin: "
    assert caller.hears(wrong) == b"password: Login incorrect\r\nlogin: "
    assert not caller.hung_up
    assert caller.hears(wrong + END) == b"password: Login incorrect\r\nlogin: "
    assert caller.hung_up


def test_telnet_login_is_not_repeated_in_sip2(port: Port) -> None:
    caller = _call(port, Listener(login="telnet"))
    caller.hears(b"counter-1\r\ncounter-1-pw\r\n")
    assert caller.hears(b"97AZFEF5\r") == b"96AZFEF6\r"


def test_endless_telnet_line_uses_bounded_memory(port: Port) -> None:
    caller = _call(port, Listener(login="telnet"))
    for _ in range(50):
        caller.hears(b"x" * 65_536)
    assert len(caller.line._prompts._buffer) <= 1024


# ---- framing


def test_framing_of_the_port_survives_the_login(port: Port) -> None:
    caller = _call(port, Listener(framing=replace(DIALECTS["crlf"], delimiter="^")))
    assert caller.hears(b"9300CNplain-1^COplain-1-pw^\r") == b"941\r\n"
    assert caller.hears(f"35{DATE}AOHKU^AAP1^\r".encode()) == f"36Y{DATE}AOHKU^AAP1^\r\n".encode()


def test_login_sets_the_framing_when_the_port_has_none(port: Port) -> None:
    row = replace(port.services.terminals["counter-1"], dialect=DIALECTS["crlf"])
    there = replace(port, services=replace(port.services, terminals={"counter-1": row}))
    assert _call(there, Listener()).hears(LOGIN + END) == b"941\r\n" + ENDED + b"\n"


def test_address_may_have_its_own_framing(port: Port) -> None:
    framings = (FramingRule(AllowList(["10.2.0.0/16"]), DIALECTS["crlf"]),)
    assert _call(port, Listener(framings=framings), IPv4Address("TCP", "10.2.0.1", 1)).hears(LOGIN) == b"941\r\n"
    assert _call(port, Listener(framings=framings), IPv4Address("TCP", "10.3.0.1", 1)).hears(LOGIN) == b"941\r"


# ---- load balancers


@pytest.mark.parametrize("header", [V1, V2])
def test_proxy_header_gives_the_caller_address(port: Port, header: bytes) -> None:
    caller = _call(port, Listener(proxy_from=PROXY_FROM))
    assert caller.hears(header + LOGIN + END) == b"941\r" + ENDED
    assert caller.line._peer == "10.0.0.7"


@pytest.mark.parametrize("header", [V1, V2])
def test_proxy_header_may_arrive_in_pieces(port: Port, header: bytes) -> None:
    caller = _call(port, Listener(proxy_from=PROXY_FROM))
    heard = [caller.hears(header[at : at + 1]) for at in range(len(header))]
    assert b"".join(heard) == b""
    assert caller.hears(LOGIN) == b"941\r"


def test_caller_behind_a_load_balancer_must_be_on_the_allow_list(port: Port) -> None:
    caller = _call(port, Listener(proxy_from=PROXY_FROM))
    assert caller.hears(V1.replace(b"10.0.0.7", b"192.0.2.1") + LOGIN) == b""
    assert caller.hung_up
    assert value(port.services.metrics, "connections_refused_total", "sip2", "address") == 1


def test_balancer_connection_without_a_header_closes(port: Port) -> None:
    caller = _call(port, Listener(proxy_from=PROXY_FROM))
    assert caller.hears(LOGIN) == b""
    assert caller.hung_up
    assert value(port.services.metrics, "connections_refused_total", "sip2", "proxy") == 1


def test_silent_balancer_connection_times_out(port: Port) -> None:
    caller = _call(port, Listener(proxy_from=PROXY_FROM))
    port.clock.advance(HEADER_S)
    assert caller.hung_up
    caller.goes()
    assert port.clock.getDelayedCalls() == []


def test_proxy_header_from_another_address_is_an_ordinary_line(port: Port) -> None:
    caller = _call(port, Listener(proxy_from=PROXY_FROM), IPv4Address("TCP", "10.0.0.8", 1))
    assert caller.hears(V1 + LOGIN) == b"941\r"
    assert caller.line._peer == "10.0.0.8"


def test_load_balancer_health_check_counts_as_the_load_balancer(port: Port) -> None:
    caller = _call(port, Listener(proxy_from=PROXY_FROM))
    assert caller.hears(b"PROXY UNKNOWN\r\n" + LOGIN) == b"941\r"
    assert caller.line._peer == "10.9.9.9"


def test_connection_limit_counts_callers_behind_a_load_balancer(port: Port) -> None:
    small = replace(port, listener=Listener(proxy_from=PROXY_FROM), per_address=1)
    first, other, again = (small.call(BALANCER, log_in=False) for _ in range(3))
    assert first.hears(V1 + LOGIN) == b"941\r"
    assert other.hears(V1.replace(b"10.0.0.7", b"10.0.0.8") + LOGIN) == b"941\r"
    assert again.hears(V1 + LOGIN) == b""
    assert again.hung_up


def test_balancer_connections_without_a_header_are_limited(port: Port) -> None:
    there = replace(port, listener=Listener(proxy_from=PROXY_FROM))
    waiting = [there.call(BALANCER, log_in=False) for _ in range(WITHOUT_HEADER)]
    assert there.call(BALANCER, log_in=False).hung_up
    assert value(there.services.metrics, "connections_refused_total", "sip2", "full") == 1

    assert waiting[0].hears(V1 + LOGIN) == b"941\r"
    waiting[1].goes()
    assert [there.call(BALANCER, log_in=False).hung_up for _ in range(3)] == [False, False, True]


def test_drain_closes_silent_load_balancer_connections(port: Port) -> None:
    there = replace(port, listener=Listener(proxy_from=PROXY_FROM))
    silent, late = (there.call(BALANCER, log_in=False) for _ in range(2))
    assert there.terminals.drain().called
    assert late.hears(V1 + LOGIN) == b""
    assert late.hung_up
    there.factory.stopFactory()
    assert silent.hung_up
