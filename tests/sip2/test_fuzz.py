"""Any bytes in any segments, to a real circulation service: no exception, bounded memory, and the connection survives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from hkall_gateway.net.limits.allow_list import AllowList
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import decode
from hkall_gateway.sip2.codec.messages import SHAPES
from hkall_gateway.sip2.dispatch import Listener
from tests.examples import example_count

from .conftest import fixtures

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.sip2.conftest import Port

DATE = "20170301    100000"
END = f"35{DATE}AOHKU|AAP1|\r".encode()
ENDED = f"36Y{DATE}AOHKU|AAP1|\r".encode()
GOOD = sorted(one.line for one in fixtures().values())
ALL = settings(max_examples=example_count(150), suppress_health_check=list(HealthCheck))


@st.composite
def _spoilt(draw: st.DrawFn) -> bytes:
    """Return a valid line with a few bytes removed, doubled or changed, which reaches deeper than random bytes."""
    line = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(len(line) - 1, 0)))
        deed = draw(st.sampled_from(["cut", "double", "change", "insert"]))
        if deed == "cut":
            del line[at : at + draw(st.integers(1, 12))]
        elif deed == "double":
            line[at:at] = line[at : at + draw(st.integers(1, 12))]
        elif deed == "change":
            line[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        else:
            line[at:at] = draw(st.sampled_from([b"|", b"\0", b"\xff", b"AY1AZ", b"AZ", "書".encode(), b"AAP1|", b"   "]))
    return bytes(line)


LINES = st.lists(st.one_of(_spoilt(), st.binary(max_size=60)), max_size=6)
ENDS = st.sampled_from([b"\r", b"\n", b"\r\n", b"\r\n\r\n"])
SIZES = st.integers(1, 200)


@pytest.fixture
def busy(port: Port, place: Callable[..., object]) -> Port:
    """A port with a service that has data."""
    for number, position in enumerate((Position.RECEIVED, Position.ON_LOAN, Position.IN_TRANSIT, Position.TO_RETURN), 1):
        place(position, item_barcode=f"C{number}")
    return replace(port, slow=False)


@ALL
@given(lines=LINES, end=ENDS, size=SIZES, login=st.sampled_from(["counter-1", "big5-1", "ascii-1", "staff-1"]))
def test_valid_message_is_answered_after_any_input(busy: Port, lines: list[bytes], end: bytes, size: int, login: str) -> None:
    caller = replace(busy).call(log_in=False)
    caller.hears(f"9300CN{login}|CO{login}-pw|\r".encode())
    data = end.join(line for line in lines if b"93" not in line) + end
    with capture_logs() as logs:
        heard = b"".join(caller.hears(data[at : at + size]) for at in range(0, len(data), size))
    assert [log for log in logs if log["log_level"] in ("error", "critical")] == []
    assert caller.line._session.held <= DIALECTS["standard"].max_line
    assert not caller.hung_up
    assert caller.hears(END) == ENDED
    for line in filter(None, heard.split(b"\r")):
        assert decode(line, DIALECTS[caller.line._session.dialect.name]).code in SHAPES


@ALL
@given(data=st.binary(max_size=400).filter(lambda data: b"93" not in data), size=SIZES)
def test_any_input_before_the_login_is_refused(busy: Port, data: bytes, size: int) -> None:
    caller = replace(busy).call(log_in=False)
    for at in range(0, len(data), size):
        caller.hears(data[at : at + size])
    caller.hears(b"\r")
    assert not caller.hung_up
    assert caller.hears(b"9300CNcounter-1|COcounter-1-pw|\r" + END).endswith(ENDED)


@ALL
@given(data=st.binary(max_size=400), size=SIZES)
def test_any_telnet_input_causes_at_worst_a_wrong_login(busy: Port, data: bytes, size: int) -> None:
    caller = replace(busy, listener=Listener(login="telnet")).call(log_in=False)
    heard = caller.hears() + b"".join(caller.hears(data[at : at + size]) for at in range(0, len(data), size))
    words = heard.replace(b"login: ", b"").replace(b"password: ", b"").replace(b"Login incorrect\r\n", b"")
    assert words == b""


@ALL
@given(data=st.binary(max_size=400))
def test_any_load_balancer_input_is_a_header_or_closes_the_connection(busy: Port, data: bytes) -> None:
    caller = replace(busy, listener=Listener(proxy_from=AllowList(["10.0.0.0/8"]))).call(log_in=False)
    assert caller.hears(data) == b""
