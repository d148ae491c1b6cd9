"""Splitting bytes into lines: every segmentation, every terminator, every limit."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message, checksum
from hkall_gateway.sip2.codec.messages import SHAPES
from hkall_gateway.sip2.codec.session import MOST_IDLE, Close, Event, Refuse, SendBytes, Session

SMALL = replace(DIALECTS["standard"], name="small", max_line=64)
DATE = "20260329    101500"
STATUS = b"9900302.00"
GARBLED = b"96AZFEF6\r"
RESEND = b"97AZFEF5\r"


def _item(number: int, sequence: int) -> bytes:
    data = f"17{DATE}AOHKU|ABI{number}|AY{sequence}AZ".encode()
    return data + checksum(data) + b"\r"


def _heard(session: Session, data: bytes) -> list[Event]:
    return list(session.receive(data))


def _codes(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, Sip2Message)]


@pytest.fixture
def session() -> Session:
    return Session(DIALECTS["standard"])


def _hands_out(line: bytes, events: list[Event]) -> bool:
    """Return whether a fixture line was understood: a request delivered, a 97 answered, a reply code ignored."""
    code = line[:2].decode()
    if SHAPES[code].reply:
        return _codes(events) == [code]
    return events == ([SendBytes(GARBLED)] if code == "97" else [])


def test_every_fixture_is_delivered(line: bytes, session: Session) -> None:
    assert _hands_out(line, _heard(session, line + b"\r"))


def test_every_fixture_is_delivered_when_received_byte_by_byte(line: bytes, session: Session) -> None:
    events = [event for byte in line + b"\r" for event in session.receive(bytes([byte]))]
    assert _hands_out(line, events)


def test_every_fixture_is_delivered_when_followed_by_garbage(line: bytes, session: Session) -> None:
    events = _heard(session, line + b"\r\xff\0|||\r\n\x1b[2J88\r" + line)
    assert _hands_out(line, events)
    assert session.held == len(line)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\r\r\n"])
def test_line_ends_at_cr_or_lf(end: bytes, session: Session) -> None:
    assert _codes(_heard(session, STATUS + end + STATUS + end)) == ["99", "99"]
    assert session.counters["received"] == 2


def test_blank_lines_and_leading_blanks_are_dropped(session: Session) -> None:
    assert _codes(_heard(session, b"\r\n  \r \0" + STATUS + b"\r")) == ["99"]
    assert session.counters["received"] == 1


def test_no_message_is_delivered_before_its_line_ends(session: Session) -> None:
    assert _heard(session, STATUS) == []


def test_line_over_the_limit_is_dropped_and_the_next_line_read() -> None:
    session = Session(SMALL)
    assert _codes(_heard(session, b"17" + b"x" * 100 + b"\r" + STATUS + b"\r")) == ["99"]
    assert session.counters["too_long"] == 1


def test_line_at_the_limit_is_read() -> None:
    line = f"17{DATE}AOHKU|AB".encode().ljust(64, b"x")
    assert _codes(_heard(Session(SMALL), line + b"\r")) == ["17"]


def test_endless_line_uses_bounded_memory() -> None:
    session = Session(SMALL)
    assert _heard(session, b"x" * 200) == []
    assert session.held == 64


def test_line_of_four_times_the_limit_disconnects_once() -> None:
    session = Session(SMALL)
    assert _heard(session, b"x" * 257 + b"\r" + STATUS + b"\r") == [Close("flood")]
    assert _heard(session, STATUS + b"\r") == []


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({cut % (len(data) + 1) for cut in cuts} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]


NOISE = st.lists(
    st.one_of(
        st.binary(max_size=90),
        st.sampled_from([b"\r", b"\n", RESEND, _item(1, 1), _item(2, 2), b"11YN2026\r", STATUS + b"AY1AZ0000\r", b"AZ"]),
    ),
    max_size=8,
).map(b"".join)


@given(noise=NOISE, cuts=st.lists(st.integers(0, 999), max_size=6))
def test_valid_message_after_arbitrary_garbage_is_delivered(noise: bytes, cuts: list[int]) -> None:
    session = Session(replace(SMALL, max_line=1000))
    for piece in _pieces(noise + b"\r", cuts):
        for event in session.receive(piece):
            if isinstance(event, Sip2Message | Refuse):
                request = event.message if isinstance(event, Refuse) else event
                session.reply(request, SHAPES[event.code].reply, {"AO": "HKU"})
        assert session.held <= 1000
    assert _codes(_heard(session, STATUS + b"\r")) == ["99"]
    assert session.waiting == 1


@given(noise=NOISE, cuts=st.lists(st.integers(0, 999), max_size=6))
def test_messages_do_not_depend_on_tcp_segmentation(noise: bytes, cuts: list[int]) -> None:
    whole, pieces = Session(SMALL), Session(SMALL)
    at_once = _heard(whole, noise)
    assert [event for piece in _pieces(noise, cuts) for event in _heard(pieces, piece)] == at_once
    assert pieces.counters == whole.counters


def test_message_content_is_not_in_the_log() -> None:
    assert "Chan" not in repr(SendBytes(b"64AEChan|"))


@pytest.mark.parametrize("useless", [b"97\r", b"zz\r", b"97AZ0000\r"])
def test_many_repeated_lines_in_one_segment_count_as_a_flood(useless: bytes, session: Session) -> None:
    assert Close("flood") not in _heard(session, useless * MOST_IDLE)
    events = _heard(session, useless * 10 * MOST_IDLE)
    assert events[-1] == Close("flood")
    assert len(events) <= MOST_IDLE + 2
    assert _heard(session, STATUS + b"\r") == []


def test_blank_lines_and_requests_in_one_segment_do_not_count_as_a_flood(session: Session) -> None:
    events = _heard(session, (b"\r\n" * MOST_IDLE + b"97\r" * (MOST_IDLE - 1) + STATUS + b"\r") * 3)
    assert _codes(events) == ["99"] * 3
