"""The terminal server: byte input, ordering, and one write per reply, with a fake clock and no network."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hkall_gateway.sip2.codec.lines import checksum
from hkall_gateway.sip2.server import AT_ONCE, MOST_WAITING
from tests.examples import example_count

if TYPE_CHECKING:
    from tests.sip2.conftest import Port

DATE = "20170301    100000"
LOGIN = b"9300CNcounter-1|COcounter-1-pw|\r"
END = f"35{DATE}AOHKU|AAP1|\r".encode()
ENDED = f"36Y{DATE}AOHKU|AAP1|\r".encode()


def _item(barcode: str, sequence: int | None = None) -> bytes:
    line = f"17{DATE}AOHKU|AB{barcode}|".encode()
    if sequence is None:
        return line + b"\r"
    sealed = line + f"AY{sequence}AZ".encode()
    return sealed + checksum(sealed) + b"\r"


def _barcodes(heard: bytes) -> list[str]:
    return [line.split(b"AB")[1].split(b"|")[0].decode() for line in heard.split(b"\r") if line]


# ---- framing and order


def test_message_is_answered_byte_by_byte(port: Port) -> None:
    caller = port.call()
    heard = [caller.hears(END[at : at + 1]) for at in range(len(END))]
    assert b"".join(heard[:-1]) == b""
    assert heard[-1] == ENDED


def test_messages_in_one_packet_are_both_answered(port: Port) -> None:
    assert port.call().hears(END + b"\n" + END) == ENDED + ENDED


def test_login_and_first_message_may_share_a_packet(port: Port) -> None:
    assert port.call(log_in=False).hears(LOGIN + END) == b"941\r" + ENDED


def test_replies_are_sent_in_the_order_of_requests(port: Port) -> None:
    caller = port.call()
    assert caller.hears(_item("I1") + END) == b""
    port.circulation.found("I1")
    heard = caller.hears()
    assert heard.startswith(b"18")
    assert heard.endswith(b"\r" + ENDED)


def test_slow_request_does_not_delay_other_terminals(port: Port) -> None:
    slow, quick = port.call(), port.call()
    slow.hears(_item("I1"))
    assert quick.hears(END) == ENDED


def test_reply_is_sent_in_one_write(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = port.call()
    writes: list[bytes] = []
    monkeypatch.setattr(caller.socket, "write", writes.append)
    caller.line.dataReceived(END)
    assert writes == [ENDED]


def test_resend_of_a_pending_request_is_answered_once(port: Port) -> None:
    caller = port.call()
    caller.hears(_item("I1", 3))
    caller.hears(_item("I1", 3))
    port.circulation.found("I1")
    assert _barcodes(caller.hears()) == ["I1"]
    assert port.circulation.looking == {"I1": []}


def test_resend_of_an_answered_request_gets_the_same_bytes(port: Port) -> None:
    caller = port.call()
    caller.hears(_item("I1", 3))
    port.circulation.found("I1")
    first = caller.hears()
    assert caller.hears(_item("I1", 3)) == first != b""
    assert port.circulation.looking == {"I1": []}


def test_wrong_checksum_requests_a_resend_in_order(port: Port) -> None:
    caller = port.call()
    caller.hears(_item("I1") + b"9900302.00AY1AZ0000\r")
    assert caller.hears() == b""
    port.circulation.found("I1")
    assert caller.hears().endswith(b"|\r96AZFEF6\r")


def test_terminal_is_not_read_while_its_replies_are_unread(port: Port) -> None:
    caller = port.call()
    caller.hears(_item("I1") + END * (MOST_WAITING + 1))
    assert caller.socket.producerState == "paused"
    port.circulation.found("I1")
    assert caller.socket.producerState == "producing"
    port.clock.pump([0] * (MOST_WAITING // AT_ONCE))  # other terminals are served in between
    assert caller.hears().count(ENDED) == MOST_WAITING + 1


# ---- bad input


def test_line_of_200_kb_is_dropped_and_the_next_line_answered(port: Port) -> None:
    caller = port.call()
    assert caller.hears(b"63" + b"x" * 200_000 + b"\r") == b""
    assert not caller.hung_up
    assert caller.hears(END) == ENDED


def test_line_without_an_end_closes_the_connection(port: Port) -> None:
    caller = port.call()
    for _ in range(5):
        caller.hears(b"x" * 65_536)
    assert caller.hung_up


@pytest.mark.parametrize(
    "data",
    [b"\r\n\r\n", b"88what\r", b"GET / HTTP/1.1\r\n", b"\xff\xfe\x00\r", b"63\r", b"11N\r", b"18\r", b"9900302.00AY1AZ\r"],
)
def test_malformed_messages_never_close_the_connection(port: Port, data: bytes) -> None:
    caller = port.call()
    caller.hears(data)
    assert not caller.hung_up
    assert caller.hears(END) == ENDED


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=example_count(60))
@given(st.lists(st.binary(max_size=80).filter(lambda piece: b"93" not in piece), max_size=6))
def test_message_after_arbitrary_garbage_is_answered(port: Port, pieces: list[bytes]) -> None:
    caller = replace(port).call()
    for piece in pieces:
        caller.hears(piece)
    caller.hears(b"\r")
    assert caller.hears(END) == ENDED
