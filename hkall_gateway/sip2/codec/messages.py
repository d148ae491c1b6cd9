"""The structure of SIP2 messages, as listed in `messages.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final


@dataclass(frozen=True, slots=True)
class FixedField:
    """A field in the fixed part of a message: `width` characters without tag or delimiter."""

    name: str
    width: int
    kind: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageShape:
    """The structure of a message.

    Attributes:
        reply: Code of the reply; "" for replies, and for 97, which has no specific reply.
        width: Number of characters between the code and the first tag.
    """

    code: str
    name: str
    fixed: tuple[FixedField, ...]
    required: tuple[str, ...]
    optional: tuple[str, ...]
    reply: str
    width: int


_TABLES: Final = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
PARTS: Final = {name: FixedField(name, row["width"], row["kind"]) for row in _TABLES["parts"] for name in row["names"].split()}


def _read_shape(code: str, name: str, fixed: str = "", required: str = "", optional: str = "", reply: str = "") -> MessageShape:
    parts = tuple(PARTS[part] for part in fixed.split())
    width = sum(part.width for part in parts)
    return MessageShape(
        code=code,
        name=name,
        fixed=parts,
        required=tuple(required.split()),
        optional=tuple(optional.split()),
        reply=reply,
        width=width,
    )


SHAPES: Final = {code: _read_shape(code, **row) for code, row in _TABLES["messages"].items()}

BX: Final = ("23", "11", "09", "01", "99", "97", "93", "63", "35", "37", "17", "19", "25", "15", "29", "65")
"""The meaning of the positions of BX. Source: SIP2 2.00, supported messages."""

RESEND: Final = "97"
"""Code of the message with which a terminal requests our last message again."""
GARBLED: Final = "96"
"""Code of the message with which we request the terminal's last message again."""
