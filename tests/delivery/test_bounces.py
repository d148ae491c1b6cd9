"""Bounces: parsing delivery notifications of every form, and refusing other mail."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hkall_gateway.delivery.bounces import Bounce, NotABounce, read_bounce
from hkall_gateway.delivery.headers import LetterId, is_ours, message_id, read_message_id
from hkall_gateway.rules.vocabulary import Sensitive

KEY = Sensitive("opensesame")
OURS = message_id(7, "letter_pickup", "R1", KEY, "lib.hk")
LETTER = read_message_id(OURS)
HEAD = f"Message-ID: {OURS}\nSubject: Ready for you\n"

REPORT = """\
From: MAILER-DAEMON@mail.test
To: lending@lib.hk
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type={type}; boundary="b"

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: {status_type}

Reporting-MTA: dns; mail.test

{recipients}
--b
Content-Type: {original_type}

{original}

--b--
"""


def report(
    recipients: str = "Action: failed\nStatus: 5.1.1\nFinal-Recipient: rfc822; p1@example.hk\n",
    original: str = HEAD,
    original_type: str = "message/rfc822",
    status_type: str = "message/delivery-status",
    kind: str = "delivery-status",
) -> bytes:
    told = {"recipients": recipients, "original": original, "original_type": original_type, "status_type": status_type}
    return REPORT.format(type=kind, **told).encode()


@pytest.mark.parametrize(
    ("original_type", "status_type"),
    [
        ("message/rfc822", "message/delivery-status"),
        ("text/rfc822-headers", "message/delivery-status"),
        ("message/global-headers", "message/global-delivery-status"),
    ],
)
def test_bounce_with_the_letter_or_its_headers_identifies_the_letter(original_type: str, status_type: str) -> None:
    told = read_bounce(report(original_type=original_type, status_type=status_type))
    assert told == Bounce(
        letter=LetterId(notice=7, kind="letter_pickup", check=OURS.split(".")[2].split("@")[0]), action="failed", status="5.1.1"
    )
    assert told.final


@pytest.mark.parametrize(
    ("recipients", "action", "status", "final"),
    [
        ("Action: failed\nStatus: 5.0.0\n", "failed", "5.0.0", True),
        ("Action: Failed (gave up)\nStatus: 4.4.7 (expired)\n", "failed", "4.4.7", True),
        ("Action: failed\n", "failed", "", True),
        ("Action: delayed\nStatus: 4.0.0\n", "delayed", "4.0.0", False),
        ("Action: delivered\nStatus: 2.0.0\n", "delivered", "2.0.0", False),
        ("Action: delayed\nStatus: 4.2.2\n\nAction: failed\nStatus: 5.2.2\n", "failed", "5.2.2", True),
    ],
)
def test_only_a_permanent_failure_is_final(recipients: str, action: str, status: str, final: bool) -> None:
    told = read_bounce(report(recipients=recipients))
    assert (told.action, told.status, told.final) == (action, status, final)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no delivery status notification"),
        (b"\x00\xff\r\n\r\n", "no delivery status notification"),
        (b"Subject: out of office\n\nI am away.\n", "no delivery status notification"),
        (report(kind="disposition-notification"), "no delivery status notification"),
        (b"Content-Type: multipart/report; report-type=delivery-status\n\nnothing\n", "no delivery status notification"),
        (report(original="Subject: x\n"), "does not say which message"),
        (report(original_type="text/plain"), "does not say which message"),
        (report(original="Message-ID: <1.2@elsewhere.test>\n"), "none of our letters"),
        (report(recipients="Status: 5.0.0\n"), "does not say what became of the message"),
        (report(status_type="text/plain"), "does not say what became of the message"),
    ],
)
def test_mail_that_is_not_a_bounce_is_refused_with_a_reason(data: bytes, why: str) -> None:
    with pytest.raises(NotABounce, match=why):
        read_bounce(data)


@given(st.binary(max_size=300), st.integers(0, len(report())))
def test_any_input_is_parsed_or_refused(noise: bytes, at: int) -> None:
    whole = report()
    for data in (noise, whole[:at] + noise + whole[at:], whole[:at]):
        with suppress(NotABounce):
            assert isinstance(read_bounce(data), Bounce)


@pytest.mark.parametrize(
    "text", ["", "<7.letter_pickup@lib.hk>", "<R1.7.letter_pickup@lib.hk>", f"x{OURS}", "<7.pickup.0@x>", f"<{7:010}{OURS[2:]}"]
)
def test_message_id_of_another_sender_is_ignored(text: str) -> None:
    assert read_message_id(text) is None


def test_check_code_is_valid_for_one_letter_request_and_key() -> None:
    assert LETTER is not None
    assert is_ours(LETTER, "R1", KEY)
    assert not is_ours(LETTER, "R2", KEY)
    assert not is_ours(LETTER, "R1", Sensitive("other"))
    assert not is_ours(LetterId(notice=8, kind=LETTER.kind, check=LETTER.check), "R1", KEY)
    assert not is_ours(LetterId(notice=7, kind="letter_overdue", check=LETTER.check), "R1", KEY)


@given(st.text(max_size=40))
def test_message_id_is_valid_for_any_request_number(request: str) -> None:
    made = message_id(7, "letter_pickup", request, KEY, "lib.hk")
    assert made.isascii()
    assert " " not in made
    assert read_message_id(made) is not None


@pytest.mark.parametrize("depth", [3_000, 100_000])
def test_deeply_nested_message_is_not_a_bounce(depth: int) -> None:
    boundaries = [f"b{number}" for number in range(depth)]
    nested = "".join(f'Content-Type: multipart/mixed; boundary="{one}"\n\n--{one}\n' for one in boundaries)
    with pytest.raises(NotABounce, match="nested too deeply"):
        read_bounce(nested.encode())


@pytest.mark.parametrize("word", ["fai\0led", "failed\x1b[31m"])
def test_report_with_control_characters_is_not_a_bounce(word: str) -> None:
    with pytest.raises(NotABounce, match="no text"):
        read_bounce(report(f"Action: {word}\nStatus: 5.1.1\n"))
