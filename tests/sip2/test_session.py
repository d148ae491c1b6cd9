"""One terminal session, seen from its socket: the probe matrix, resends, duplicates."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.lines import Sip2Message, checksum
from hkall_gateway.sip2.codec.messages import SHAPES
from hkall_gateway.sip2.codec.session import Event, Refuse, SendBytes, Session

STANDARD = DIALECTS["standard"]
DATE = "20260329    101500"
STATUS = b"9900302.00"
GARBLED = b"96AZFEF6\r"
RESEND = b"97AZFEF5\r"
FIELDS = {"AO": "HKU"}


def _sealed(text: str) -> bytes:
    data = text.encode() + b"AZ"
    return data + checksum(data) + b"\r"


def _item(number: int, sequence: int | None = None) -> bytes:
    text = f"17{DATE}AOHKU|ABI{number}|"
    return text.encode() + b"\r" if sequence is None else _sealed(f"{text}AY{sequence}")


def _heard(session: Session, data: bytes) -> list[Event]:
    return list(session.receive(data))


def _codes(events: list[Event]) -> list[str]:
    return [event.code for event in events if isinstance(event, Sip2Message)]


def _barcodes(events: list[Event]) -> list[str]:
    return [event.get("AB") for event in events if isinstance(event, Sip2Message)]


def _one(session: Session, data: bytes) -> Sip2Message:
    (event,) = session.receive(data)
    assert isinstance(event, Sip2Message)
    return event


def _answered(session: Session, data: bytes) -> bytes:
    """Return the reply that the terminal receives to one request."""
    request = _one(session, data)
    return session.reply(request, SHAPES[request.code].reply, FIELDS)


@pytest.fixture
def session() -> Session:
    return Session(STANDARD)


def test_messages_in_one_segment_are_delivered_in_order(session: Session) -> None:
    assert _barcodes(_heard(session, _item(1) + _item(2))) == ["I1", "I2"]


def test_message_may_arrive_in_several_segments(session: Session) -> None:
    line = _item(1)
    assert _heard(session, line[:7]) == []
    assert _barcodes(_heard(session, line[7:])) == ["I1"]


def test_wrong_checksum_requests_a_resend(session: Session) -> None:
    assert _heard(session, STATUS + b"AY1AZFCA6\r") == [SendBytes(GARBLED)]
    assert session.counters["bad_checksum"] == 1


def test_lower_case_checksum_is_accepted(session: Session) -> None:
    assert _codes(_heard(session, STATUS + b"AY1AZfca5\r")) == ["99"]


def test_resend_of_an_answered_request_gets_the_same_bytes_without_execution(session: Session) -> None:
    answer = _answered(session, _item(1, sequence=3))
    assert _heard(session, _item(1, sequence=3)) == [SendBytes(answer)]
    assert session.counters["replayed"] == 1


def test_resend_of_a_pending_request_is_not_executed_again(session: Session) -> None:
    request = _one(session, _item(1, sequence=3))
    assert _heard(session, _item(1, sequence=3)) == []
    answer = session.reply(request, "18", FIELDS)
    assert _heard(session, _item(1, sequence=3)) == [SendBytes(answer)]


def test_resend_is_recognised_while_a_later_request_is_pending(session: Session) -> None:
    first, second = _heard(session, _item(1, sequence=3) + _item(2, sequence=4))
    assert isinstance(first, Sip2Message)
    assert isinstance(second, Sip2Message)
    answer = session.reply(first, "18", FIELDS)
    assert _heard(session, _item(1, sequence=3)) == [SendBytes(answer)]
    assert _heard(session, _item(2, sequence=4)) == []


def test_request_stays_pending_when_a_later_request_is_answered_first(session: Session) -> None:
    first, second = _heard(session, _item(1, sequence=3) + _item(2, sequence=4))
    assert isinstance(first, Sip2Message)
    assert isinstance(second, Sip2Message)
    session.reply(second, "18", FIELDS)
    assert (_heard(session, _item(1, sequence=3)), session.waiting) == ([], 1)


def test_resend_after_a_garbled_resend_is_not_executed_again(session: Session) -> None:
    answer = _answered(session, _item(1, sequence=3))
    garbled = _item(1, sequence=3).replace(b"I1", b"I7")
    assert _heard(session, garbled + _item(1, sequence=3)) == [SendBytes(GARBLED), SendBytes(answer)]


def test_same_text_with_the_next_sequence_number_is_a_new_request(session: Session) -> None:
    _answered(session, _item(1, sequence=9))
    assert _barcodes(_heard(session, _item(1, sequence=0))) == ["I1"]


def test_same_text_after_another_request_is_a_new_request(session: Session) -> None:
    _answered(session, _item(1, sequence=3))
    _answered(session, _item(2, sequence=4))
    assert _barcodes(_heard(session, _item(1, sequence=3))) == ["I1"]


def test_different_barcodes_with_the_same_checksum_are_different_requests(session: Session) -> None:
    one, other = _item(12, sequence=3), _item(21, sequence=3)
    assert one[-6:] == other[-6:]
    _answered(session, one)
    assert _barcodes(_heard(session, other)) == ["I21"]


def test_repeated_text_is_executed_again_without_error_detection(session: Session) -> None:
    _answered(session, _item(1))
    assert _barcodes(_heard(session, _item(1))) == ["I1"]


def test_resend_request_before_any_reply_is_answered_by_96(session: Session) -> None:
    assert _heard(session, RESEND) == [SendBytes(GARBLED)]


def test_resend_request_gets_the_last_reply_byte_for_byte(session: Session) -> None:
    answer = _answered(session, _item(1, sequence=3))
    assert _heard(session, RESEND + RESEND) == [SendBytes(answer), SendBytes(answer)]


def test_resend_request_gets_the_last_reply_even_if_it_was_96(session: Session) -> None:
    _answered(session, _item(1, sequence=3))
    assert _heard(session, STATUS + b"AY1AZ0000\r" + RESEND) == [SendBytes(GARBLED), SendBytes(GARBLED)]


def test_resend_request_gets_the_last_reply_even_if_it_was_a_resend(session: Session) -> None:
    answer = _answered(session, _item(1, sequence=3))
    _heard(session, STATUS + b"AY1AZ0000\r" + _item(1, sequence=3))
    assert _heard(session, RESEND) == [SendBytes(answer)]


def test_resend_request_gets_no_older_reply_while_a_request_is_pending(session: Session) -> None:
    _answered(session, _item(1, sequence=3))
    request = _one(session, _item(2, sequence=4))
    assert _heard(session, RESEND) == []
    answer = session.reply(request, "18", FIELDS)
    assert _heard(session, RESEND) == [SendBytes(answer)]


def test_resend_request_needs_no_checksum() -> None:
    quiet = Session(replace(STANDARD, error_detection=False))
    assert _heard(quiet, b"97\r") == [SendBytes(b"96\r")]


def test_message_96_has_a_checksum_in_every_dialect() -> None:
    quiet = Session(replace(STANDARD, error_detection=False))
    assert _heard(quiet, STATUS + b"AZ0000\r") == [SendBytes(GARBLED)]


def test_unknown_command_is_ignored_and_counted(session: Session) -> None:
    assert _codes(_heard(session, b"88whatever|\r" + STATUS + b"\r")) == ["99"]
    assert session.counters["unknown_command"] == 1


def test_reply_code_is_not_accepted_as_a_command(session: Session) -> None:
    assert _heard(session, b"941\r96AZFEF6\r12\r") == []
    assert session.counters["unknown_command"] == 3


def test_unknown_field_is_ignored_and_counted(session: Session) -> None:
    assert _barcodes(_heard(session, f"17{DATE}AOHKU|ZZ?|ABI1|\r".encode())) == ["I1"]
    assert session.counters["unknown_field"] == 1


def test_checksum_over_code_points_is_counted(session: Session) -> None:
    text = f"17{DATE}AOHKU|ABé|AY1AZ"
    digits = b"%04X" % (-sum(map(ord, text)) & 0xFFFF)
    assert _barcodes(_heard(session, text.encode() + digits + b"\r")) == ["é"]
    assert session.counters["code_point_sum"] == 1


# fmt: off
CUSTOMS = [
    "scalar twice", "AC missing", "no last delimiter", "bars at the end", "NUL", "300 characters", "20 kB",
    "blank transaction date", "blank nb due date", "summary position 6", "version 3.00", "password algorithm 1",
]
# fmt: on


@pytest.mark.parametrize(
    ("text", "tag", "value"),
    [
        (f"23001{DATE}AOHKU|AAP1|AAP2|", "AA", "P1"),
        (f"23001{DATE}AOHKU|AAP1|", "AC", ""),
        (f"23001{DATE}AOHKU|AAP1", "AA", "P1"),
        (f"23001{DATE}AOHKU|AAP1||||", "AA", "P1"),
        (f"23001{DATE}AOHKU|AAP\x001|", "AA", "P 1"),
        (f"23001{DATE}AOHKU|AA{'x' * 300}|", "AA", "x" * 300),
        (f"23001{DATE}AOHKU|AA{'x' * 20000}|", "AA", "x" * 20000),
        (f"23001{' ' * 18}AOHKU|AAP1|", "transaction_date", " " * 18),
        (f"11YN{DATE}{' ' * 18}AOHKU|AAP1|ABI1|AC|", "nb_due_date", " " * 18),
        (f"63001{DATE}      Y   AOHKU|AAP1|", "summary", "      Y   "),
        ("9900303.00", "protocol_version", "3.00"),
        ("9301CNcounter-1|COx|", "pwd_algorithm", "1"),
    ],
    ids=CUSTOMS,
)
def test_messages_seen_in_practice_are_read(text: str, tag: str, value: str, session: Session) -> None:
    assert _one(session, text.encode() + b"\r").get(tag) == value


def test_invalid_utf_8_is_replaced(session: Session) -> None:
    assert _one(session, f"17{DATE}AOHKU|AB".encode() + b"\xe9|\r").get("AB") == "\ufffd"


def test_sip1_status_does_not_corrupt_the_next_message(session: Session) -> None:
    assert _codes(_heard(session, f"9900301.00\r63001{DATE}{' ' * 10}AOHKU|AAP1|\r".encode())) == ["99", "63"]


def test_truncated_command_is_refused_with_its_own_reply(session: Session) -> None:
    (event,) = _heard(session, _sealed("11YN2026|AOHKU|AAP1|AY5"))
    assert isinstance(event, Refuse)
    assert (event.code, event.why, event.message.get("AA")) == ("11", "truncated", "P1")
    answer = session.reply(event.message, "12", {})
    assert answer.startswith(b"120NNN")
    assert b"AY5AZ" in answer
    assert session.waiting == 0


def test_truncated_reply_is_ignored(session: Session) -> None:
    assert _heard(session, b"12\r") == []


@pytest.mark.parametrize(
    ("request_end", "reply_end"),
    [("AY7AZ", b"AY7AZ"), ("AZ", b"AZ"), ("AY7", b"AY7AZ"), ("", b"")],
    ids=["both", "checksum only", "sequence only", "neither"],
)
def test_reply_has_error_detection_when_its_request_had(request_end: str, reply_end: bytes, session: Session) -> None:
    text = f"35{DATE}AOHKU|AAP1|{request_end}"
    digits = checksum(text.encode()) if request_end.endswith("AZ") else b""
    request = _one(session, text.encode() + digits + b"\r")
    body = f"36Y{DATE}AOHKU|AAP1|".encode() + reply_end
    expected = body + (checksum(body) if reply_end else b"") + b"\r"
    answer = session.reply(request, "36", {"end_session": "Y", "transaction_date": DATE, "AO": "HKU", "AA": "P1"})
    assert answer == expected


def test_error_detection_is_decided_per_message(session: Session) -> None:
    assert b"AY1AZ" in _answered(session, _item(1, sequence=1))
    assert b"AZ" not in _answered(session, _item(2))


def test_requests_and_replies_are_counted(session: Session) -> None:
    _answered(session, _item(1))
    assert (session.counters["received"], session.counters["answered"], session.waiting) == (1, 1, 0)


def test_requests_in_progress_are_counted_as_pending(session: Session) -> None:
    _heard(session, _item(1) + _item(2))
    assert session.waiting == 2


def test_failed_reply_leaves_the_request_pending(session: Session) -> None:
    request = _one(session, _item(1))
    with pytest.raises(ValueError, match="nonsense"):
        session.reply(request, "18", {"nonsense": "1"})
    assert session.waiting == 1


# ---- a terminal with a constant sequence number


def answers(session: Session, line: bytes) -> str:
    """Return "new" for a request to answer, or the line that is sent again."""
    (event,) = session.receive(line)
    if isinstance(event, SendBytes):
        return event.data.decode()
    assert isinstance(event, Sip2Message)
    session.reply(event, "98" if event.code == "99" else "18", {})
    return "new"


@pytest.mark.parametrize(("seconds", "code", "again"), [(30, "17", True), (31, "17", False), (1, "99", False)])
def test_identical_line_is_a_resend_only_while_the_terminal_may_try_again(seconds: int, code: str, again: bool) -> None:
    body = b"9900802.00AY1AZ" if code == "99" else b"1720170301    100000AOHKU|ABC1|AC|AY1AZ"
    line, clock = body + checksum(body) + b"\r", [100.0]
    session = Session(DIALECTS["standard"], seconds=lambda: clock[0])
    assert answers(session, line) == "new"
    clock[0] += seconds
    assert (answers(session, line) != "new") is again
