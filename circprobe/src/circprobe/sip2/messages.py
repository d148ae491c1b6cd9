"""The messages of SIP2 2.00, read from messages.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources

TRANSACTIONS = {"11", "09", "29", "65", "15", "37", "01", "25", "19"}
"""Messages that change something at the library."""

SUPPORTED = (
    *("23", "11", "09", "01", "99", "97", "93", "63"),
    *("35", "37", "17", "19", "25", "15", "29", "65"),
)
"""The messages behind the 16 positions of BX in ACS Status."""

EXTENSION_FIELDS = {
    *("CR", "CS", "CT", "CV", "CY", "DA", "DJ", "DB"),
    *("PA", "PB", "PC", "PI", "PE", "PZ", "FA", "FE"),
}
"""Fields of 3M's extensions and of widespread practice, which 2.00 does not know."""


@dataclass(frozen=True)
class Layout:
    """How a message is built.

    Attributes:
        fixed: names and widths of the fixed part, in order, without the command.
        response: the command of its answer, empty if it is an answer itself.
    """

    code: str
    name: str
    sender: str
    response: str
    fixed: tuple[tuple[str, int], ...]
    required: frozenset[str]
    optional: frozenset[str]


@dataclass(frozen=True)
class FieldKind:
    """What 2.00 says about a tagged field."""

    name: str
    most: int
    has_fixed_length: bool
    may_repeat: bool


def _read() -> tuple[dict[str, Layout], dict[str, FieldKind]]:
    path = resources.files("circprobe.sip2").joinpath("messages.toml")
    document = tomllib.loads(path.read_text("utf-8"))
    layouts = {
        code: Layout(
            code,
            name=row["name"],
            sender=row["sender"],
            response=row.get("response", ""),
            fixed=tuple((name, width) for name, width in row["fixed"]),
            required=frozenset(row["required"]),
            optional=frozenset(row["optional"]),
        )
        for code, row in document["messages"].items()
    }
    fields = {
        tag: FieldKind(row["name"], row["max"], row["fixed"], row["repeatable"])
        for tag, row in document["fields"].items()
    }
    return layouts, fields


MESSAGES, FIELDS = _read()


def fixed_length(code: str) -> int:
    """Give the length of command and fixed part, at which the first tagged field begins."""
    return 2 + sum(width for _, width in MESSAGES[code].fixed)
