"""Costly anonymous documents: each is answered, and a terminal at another address is hardly delayed."""

from __future__ import annotations

import time

import pytest

from tests.attacks.expensive_documents import DOCUMENTS, END
from tests.attacks.floods.arena import Arena, closing, connected, said

pytestmark = pytest.mark.long

NOTICED_S = 0.75
"""Far more than the gateway needs for the most expensive document, and far less than it once needed: 0.3 to 37 seconds."""


@pytest.mark.parametrize("name", DOCUMENTS)
def test_costly_document_gets_a_problem_without_delaying_others(arena: Arena, name: str) -> None:
    used_s = arena.cpu_s()
    with arena.asked_meanwhile() as waits:
        heard = said(connected(arena.ncip), closing(DOCUMENTS[name]))
    assert heard.startswith(b"HTTP/1.1 200")
    assert b"Problem" in heard or b"MessagingError" in heard
    assert waits
    assert max(waits) < NOTICED_S, f"{max(waits):.3f} s, and {arena.cpu_s() - used_s:.3f} s of CPU time"


@pytest.mark.parametrize("name", ["40,000 attributes", "32,500 namespaces"])
def test_costly_document_on_raw_tcp_gets_a_problem_without_delaying_others(arena: Arena, name: str) -> None:
    with arena.asked_meanwhile() as waits, connected(arena.raw) as line:
        line.sendall(DOCUMENTS[name])
        heard = b""
        while not heard.endswith(b"NCIPMessage>") and (piece := line.recv(65_536)):
            heard += piece
    assert b"Problem" in heard
    assert max(waits) < NOTICED_S


def test_thousands_of_tiny_documents_in_one_segment_do_not_delay_others(arena: Arena) -> None:
    with arena.asked_meanwhile() as waits:
        heard = said(connected(arena.raw), END * 4_000)
    assert heard.count(b"NCIPMessage>") <= 200  # the connection is closed as a flood
    assert max(waits) < NOTICED_S


def test_hundreds_of_requests_in_one_segment_do_not_delay_others(arena: Arena) -> None:
    with arena.asked_meanwhile() as waits:
        heard = said(connected(arena.ncip), b"GET /ncip HTTP/1.1\r\nHost:x\r\n\r\n" * 2_000)
    assert heard.count(b"HTTP/1.1 200") < 2_000
    assert max(waits) < NOTICED_S


def test_content_type_that_is_not_utf_8_is_a_bad_request(arena: Arena) -> None:
    request = closing(b"<NCIPMessage/>", kind=b"\xff\xfe")
    with connected(arena.ncip) as pieces:
        for place in range(0, len(request) - 40, 40):
            pieces.sendall(request[place : place + 40])
            time.sleep(0.002)
        in_pieces = said(pieces, request[place + 40 :])
    whole = said(connected(arena.ncip), request)
    assert (whole[:12], in_pieces[:12]) == (b"HTTP/1.1 400", b"HTTP/1.1 400")
