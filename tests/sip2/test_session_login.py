"""The terminal logged in on a connection, and its dialect."""

from __future__ import annotations

import pytest

from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message
from hkall_gateway.sip2.codec.session import Session

STANDARD = DIALECTS["standard"]
DATE = "20260329    101500"


def _one(session: Session, data: bytes) -> Sip2Message:
    (event,) = session.receive(data)
    assert isinstance(event, Sip2Message)
    return event


@pytest.fixture
def session() -> Session:
    return Session(STANDARD)


def test_session_starts_without_a_login(session: Session) -> None:
    assert session.terminal is None


def test_login_identifies_the_terminal_and_its_dialect(session: Session) -> None:
    request = _one(session, b"9300CNcounter-1|COx|\r")
    session.log_in("counter-1", DIALECTS["crlf"])
    assert session.terminal == "counter-1"
    assert session.reply(request, "94", {"ok": "1"}) == b"941\r\n"


def test_third_wrong_login_ends_the_session(session: Session) -> None:
    assert [session.strike() for _ in range(3)] == [False, False, True]


def test_login_resets_the_count_of_wrong_logins(session: Session) -> None:
    session.strike()
    session.strike()
    session.log_in("counter-1")
    assert session.dialect is STANDARD  # no dialect was given, so the listener's dialect stays
    assert session.strike() is False


def test_session_uses_the_dialect_it_was_created_with() -> None:
    assert _one(Session(DIALECTS["cp850"]), f"17{DATE}AOHKU|ABé|\r".encode("cp850")).get("AB") == "é"
