"""Messages to the local system contain no control characters, whatever a terminal sends."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hkall_gateway.sip2.codec.body import transcode
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.dispatch import Sip2Services
from hkall_gateway.sip2.relay import blank_controls
from tests.sip2.test_relay import DATE, LENT, FakeUpstream, ask

UTF8, CP850, LATIN, BIG5 = (DIALECTS[name] for name in ("standard", "cp850", "latin-1", "big5"))


@pytest.mark.parametrize("control", [0x00, 0x07, 0x0B, 0x0C, 0x1B, 0x1C, 0x1D, 0x1E, 0x1F, 0x7F])
@pytest.mark.parametrize("name", DIALECTS)
def test_control_character_becomes_a_blank_in_every_character_set(name: str, control: int) -> None:
    assert blank_controls(b"17ABone" + bytes([control]) + b"two|", DIALECTS[name]) == b"17ABone two|"


@pytest.mark.parametrize("end", ["\x85", "\u2028", "\u2029"])
def test_unicode_line_separator_becomes_a_blank(end: str) -> None:
    assert blank_controls(f"17ABone{end}two|".encode(), UTF8) == b"17ABone two|"


def test_nel_becomes_a_blank_only_where_it_is_a_control_character() -> None:
    assert blank_controls(b"17ABone\x85two|", LATIN) == b"17ABone two|"
    assert blank_controls(b"17ABone\x85two|", UTF8) == b"17ABone two|"
    assert blank_controls("17ABdéjà|".encode("cp850"), CP850) == "17ABdéjà|".encode("cp850")
    assert b"\x85" in "déjà".encode("cp850")


@pytest.mark.parametrize("text", ["17AB書名|AO港大|", "17ABMäuse|"])
def test_letters_are_relayed_unchanged(text: str) -> None:
    assert blank_controls(text.encode(), UTF8) == text.encode()
    assert blank_controls("17AB書名|".encode("big5hkscs"), BIG5) == "17AB書名|".encode("big5hkscs")


def test_undecodable_byte_is_relayed_unless_it_may_be_a_control_character() -> None:
    assert blank_controls(b"17AB\xff\x90\xe9|", UTF8) == b"17AB\xff \xe9|"


def test_local_system_delimiter_inside_a_value_does_not_end_the_field() -> None:
    caret = replace(UTF8, name="caret", delimiter="^")
    assert transcode(b"17AOHKU^ABone|BIY^", caret, UTF8) == b"17AOHKU|ABone BIY|"


@pytest.mark.parametrize(("login", "told"), [("selfcheck-1", b"N"), ("offline-1", b"Y")])
@pytest.mark.parametrize("said", [f"11NY{DATE}{DATE}AOHKU|AAP1|ABLOCAL1|AC|", f"09Y{DATE}{DATE}AP|AOHKU|ABLOCAL1|AC|"])
def test_no_block_transaction_is_relayed_only_for_terminals_that_may_work_offline(
    services: Sip2Services, login: str, told: bytes, said: str
) -> None:
    upstream = FakeUpstream(LENT.encode())
    ask(services, said.encode(), upstream, login)
    assert upstream.asked == [said.encode().replace(b"Y", told, 1)]
