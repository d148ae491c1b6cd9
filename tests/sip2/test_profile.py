"""docs/profile.md states the support of every message and field as the tables and the code implement it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import hkall_gateway.sip2
from docs.generate.sip2_profile import FIELDS, MESSAGES, Support
from hkall_gateway.sip2.codec.fields import TAGS
from hkall_gateway.sip2.codec.lines import decode
from hkall_gateway.sip2.codec.messages import GARBLED, RESEND, SHAPES
from hkall_gateway.sip2.dispatch import HANDLERS

from .conftest import fixtures

ROOM = Path(hkall_gateway.sip2.__file__).parent
TABLES = {"fields.py", "messages.py", "dialects.py", "lines.py", "body.py"}
AS_A_TERMINAL = {"client.py", "queued_messages.py"}
"""Messages that we send to the local system as a terminal, which are not on the page."""
PASSED_OVER = TABLES | AS_A_TERMINAL
SPOKEN = "\n".join(path.read_text(encoding="utf-8") for path in sorted(ROOM.rglob("*.py")) if path.name not in PASSED_OVER)


def _named(tag: str) -> bool:
    """Return whether code outside the tables uses this tag."""
    return re.search(rf'"{tag}"|\b{tag}=', SPOKEN) is not None


def test_every_message_and_field_is_described() -> None:
    assert set(MESSAGES) == set(SHAPES)
    assert set(FIELDS) == set(TAGS), "every row of sip2/codec/fields.toml has its sentence in docs/generate/sip2_profile.py"
    assert all(row.why.endswith(".") for row in (*MESSAGES.values(), *FIELDS.values()))


def test_every_message_is_supported_and_every_request_has_a_handler() -> None:
    assert {row.use for row in MESSAGES.values()} == {Support.YES}
    assert set(HANDLERS) | {RESEND, GARBLED} == {code for code, s in SHAPES.items() if s.reply} | {RESEND, GARBLED}


@pytest.mark.parametrize(
    "tag", sorted(tag for tag, row in FIELDS.items() if row.use is not Support.YES and row.use is not Support.READ)
)
def test_ignored_fields_are_not_used_in_any_message(tag: str) -> None:
    assert not _named(tag)


@pytest.mark.parametrize("tag", sorted(tag for tag, row in FIELDS.items() if row.use in (Support.YES, Support.READ)))
def test_supported_fields_are_used_in_a_message(tag: str) -> None:
    assert _named(tag) or tag in ("AY", "AZ")


@pytest.mark.parametrize("tag", sorted(tag for tag, row in FIELDS.items() if row.use is not Support.UNSENT))
def test_every_supported_field_has_a_fixture(tag: str) -> None:
    """A fixture of an extension names its dialect (`# dialect: counter`); test_codec.py reads it and writes it back."""
    said = [decode(one.line, one.dialect) for one in fixtures().values()]
    assert tag in ("AY", "AZ") or any(tag in message.fields for message in said)


@pytest.mark.parametrize("tag", sorted(tag for tag, row in FIELDS.items() if row.use is Support.READ))
def test_read_only_fields_are_not_in_any_reply(tag: str) -> None:
    assert not [s.code for s in SHAPES.values() if not s.reply and tag in (*s.required, *s.optional)]
