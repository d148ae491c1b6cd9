"""The load generator sends each request once, checks every reply, and stops at the first wrong one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import generator
from bench.generator import LoadOrder, Question, WrongAnswer, check_page, checksum_holds, drive, numbered, whole_page
from bench.peers import SERVING
from bench.processes import Process, ports
from bench.questions import line
from hkall_gateway.sip2.codec.lines import checksum


def ticks() -> Callable[[], float]:
    """A clock that advances by a millisecond per call."""
    numbers = count()
    return lambda: next(numbers) / 1000


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a server that echoes every line."""
    port = next(ports())
    process = Process([*SERVING, "echo", str(port)], tmp_path_factory.mktemp("echo") / "log")
    process.until_it_listens(port)
    yield port
    process.kill()


def asked(number: int) -> Question:
    return line(f"35{number}", number), f"35{number}AY".encode()


def order(port: int, *questions: Question, connections: int = 2, seconds: float = 1e9, again: bool = False) -> LoadOrder:
    return LoadOrder([port], connections, seconds, "line", (b"35",), questions, again=again)


@pytest.mark.parametrize("connections", [1, 3, 8])
def test_each_request_is_answered_once_and_each_reply_timed(echo: int, connections: int) -> None:
    took_s, waits = drive(order(echo, *map(asked, range(5)), connections=connections), ticks())
    assert len(waits) == 5
    assert min(waits) > 0
    assert max(waits) <= took_s


def test_repeatable_requests_are_repeated_until_the_time_is_over(echo: int) -> None:
    _, waits = drive(order(echo, asked(1), asked(2), seconds=0.05, again=True), ticks())
    assert len(waits) > 2


# fmt: off
WRONG = {
    "about something else": (asked(1)[0],          b"352"),
    "another message":      (line("12", 0),        b"12"),
    "a wrong checksum":     (b"351AY0AZ0000\r",    b"351"),
    "no checksum":          (b"351\r",             b"351"),
}
# fmt: on


@pytest.mark.parametrize("question", WRONG.values(), ids=WRONG)
def test_wrong_reply_ends_the_run(echo: int, question: Question) -> None:
    with pytest.raises(WrongAnswer):
        drive(order(echo, asked(1), question), ticks())


def test_sequence_number_is_never_used_twice_in_a_row() -> None:
    first, second, third = line("35a", 9), line("35b", 9), line("35c", 8)
    assert numbered(second, first) == line("35b", 0)
    assert numbered(third, first) == third
    assert numbered(first, b"") == first


def test_closed_port_ends_the_run() -> None:
    with pytest.raises(OSError, match="refused"):
        drive(order(next(ports()), asked(1)), ticks())


def test_login_that_is_refused_ends_the_run(echo: int) -> None:
    with pytest.raises(WrongAnswer, match="login"):
        drive(LoadOrder([echo], 1, 1.0, "line", (b"35",), [asked(1)], login=line("93", 0)), ticks())


# fmt: off
PAGES = [
    (b"HTTP/1.1 200 OK\r\n\r\nyes about d-1",           True),
    (b"HTTP/1.1 200 OK\r\n\r\nyes about d-1 <Problem>", False),
    (b"HTTP/1.1 200 OK\r\n\r\nyes about d-2",           False),
    (b"HTTP/1.1 200 OK\r\n\r\nno about d-1",            False),
    (b"HTTP/1.1 503 Busy\r\n\r\nyes about d-1",         False),
]
# fmt: on


@pytest.mark.parametrize(("page", "right"), PAGES)
def test_reply_is_correct_without_a_problem_and_with_the_expected_content(page: bytes, right: bool) -> None:
    asks = LoadOrder([1], 1, 1.0, "http", (b"yes",), [])
    if right:
        check_page(asks, b"d-1", page)
    else:
        with pytest.raises(WrongAnswer):
            check_page(asks, b"d-1", page)


@given(st.binary(max_size=600))
def test_checksum_check_accepts_only_the_checksum_of_the_codec(text: bytes) -> None:
    summed = text + b"AZ"
    whole = summed + checksum(summed) + b"\r"
    assert checksum_holds(whole)
    wrong = b"%04X" % (int(whole[-5:-1], 16) ^ 1)
    assert not checksum_holds(summed + wrong + b"\r")


@given(st.binary(max_size=50), st.data())
def test_reply_is_complete_only_with_its_last_byte(body: bytes, data: st.DataObject) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Type: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body
    assert whole_page(page)
    assert not whole_page(page[: data.draw(st.integers(0, len(page) - 1))])


def test_order_round_trips_through_its_file(tmp_path: Path) -> None:
    told = LoadOrder([1, 2], 3, 4.5, "line", (b"36\xff", b"1"), [(b"\x00\xe9", b"\xfe")], b"93", True)
    generator.write_order(tmp_path / "order", told)
    read = generator.read_order(tmp_path / "order")
    assert read == told
