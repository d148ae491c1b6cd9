"""The table of messages."""

from __future__ import annotations

import re
from typing import Any

import pytest

from hkall_gateway.sip2.codec import messages
from hkall_gateway.sip2.codec.fields import KINDS, TAGS
from hkall_gateway.sip2.codec.messages import GARBLED, PARTS, RESEND, SHAPES


def _word(name: str) -> str:
    return re.sub(r"[^a-z]+", "_", name.lower())


def test_there_are_31_messages() -> None:
    assert len(SHAPES) == 31


def test_fixed_field_names_are_unique() -> None:
    assert len(PARTS) == sum(len(row["names"].split()) for row in messages._TABLES["parts"])


def test_every_fixed_field_is_used_and_has_a_kind() -> None:
    assert {part.name for shape in SHAPES.values() for part in shape.fixed} == PARTS.keys()
    assert all(part.kind in KINDS for part in PARTS.values())


def test_every_message_tag_is_in_the_tag_table() -> None:
    assert all(tag in TAGS for shape in SHAPES.values() for tag in shape.required + shape.optional)


def test_tags_of_a_message_are_unique() -> None:
    assert all(len(set(s.required + s.optional)) == len(s.required + s.optional) for s in SHAPES.values())


def test_every_request_has_a_reply_and_replies_have_none() -> None:
    assert all(SHAPES[shape.reply].reply == "" for shape in SHAPES.values() if shape.reply)


def test_every_message_except_the_two_resends_is_a_request_or_a_reply() -> None:
    asked = {code for code, shape in SHAPES.items() if shape.reply}
    answers = {shape.reply for shape in SHAPES.values() if shape.reply}
    assert SHAPES.keys() - asked - answers == {RESEND, GARBLED}
    assert not asked & answers


def test_every_message_has_a_fixture(lines: dict[str, bytes]) -> None:
    assert {line[:2].decode() for line in lines.values()} == SHAPES.keys()


@pytest.mark.parametrize("code", SHAPES)
def test_message_row_matches_the_schema(code: str, schema: dict[str, Any]) -> None:
    row, told = SHAPES[code], schema["messages"][code]
    assert row.name == told["name"]
    assert [(part.name, part.width) for part in row.fixed] == [(_word(f["name"]), f["width"]) for f in told["fixed"]]
    assert list(row.required) == [tag["id"] for tag in told["tagged"] if tag["required"]]
    assert list(row.optional) == [tag["id"] for tag in told["tagged"] if not tag["required"]]
    assert row.reply == (told["response"] if told["response"] in SHAPES else "")


def test_table_has_every_message_of_the_schema(schema: dict[str, Any]) -> None:
    assert schema["messages"].keys() == SHAPES.keys()
