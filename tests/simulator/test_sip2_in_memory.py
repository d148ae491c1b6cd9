"""A simulated terminal adds checksums to its messages and verifies those of the replies."""

from __future__ import annotations

import pytest

from hkall_gateway.simulator.scenario.in_memory import Seal
from hkall_gateway.sip2.codec.lines import checksum


@pytest.fixture
def seal() -> Seal:
    return Seal("utf-8")


def sealed(body: bytes) -> bytes:
    return body + checksum(body) + b"\r"


def test_lines_are_numbered_from_0_to_9_cyclically(seal: Seal) -> None:
    numbers = [seal.sealed("9900802.00").split(b"AY")[1][:1] for _ in range(11)]

    assert b"".join(numbers) == b"01234567890"


def test_sequence_number_in_a_line_is_used(seal: Seal) -> None:
    assert seal.sealed("9900802.00AY7") == sealed(b"9900802.00AY7AZ")


def test_valid_reply_is_decoded(seal: Seal) -> None:
    seal.sealed("9900802.00AY7")

    assert seal.opened(sealed(b"98YYYAO|AY7AZ")) == "98YYYAO|"


def test_reply_without_a_sequence_number_is_decoded(seal: Seal) -> None:
    assert seal.opened(sealed(b"96AZ")) == "96"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"98YYYAO|AY7AZ0000\r", "checksum"),
        (b"98YYYAO|\r", "checksum"),
        (sealed(b"98YYYAO|AY6AZ"), "another sequence number"),
    ],
)
def test_reply_with_a_wrong_checksum_is_refused(seal: Seal, reply: bytes, error: str) -> None:
    seal.sealed("9900802.00AY7")

    with pytest.raises(ValueError, match=error):
        seal.opened(reply)
