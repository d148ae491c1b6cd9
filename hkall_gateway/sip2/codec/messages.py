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


@dataclass(frozen=True, slots=True)
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


_PARTS: Final = {
    ("flag", 1): (
        "acs_renewal_policy alert available card_retained checkin_ok checkout_ok desensitize end_session "
        "magnetic_media no_block off_line_ok on_line_status payment_accepted renewal_ok resensitize "
        "sc_renewal_policy status_update_ok third_party_allowed"
    ),
    ("digits", 4): (
        "charged_items_count fine_items_count hold_items_count overdue_items_count recall_items_count "
        "renewed_count unavailable_holds_count unrenewed_count"
    ),
    ("digits", 2): "circulation_status fee_type payment_type security_marker",
    ("code", 3): "currency_type",
    ("date18", 18): "date_time_sync nb_due_date return_date transaction_date",
    ("code", 1): "hold_mode item_properties_ok pwd_algorithm uid_algorithm",
    ("digits", 3): "language max_print_width retries_allowed timeout_period",
    ("bit", 1): "ok",
    ("marks", 14): "patron_status",
    ("code", 4): "protocol_version",
    ("digits", 1): "status_code",
    ("marks", 10): "summary",
}
"""The names of the fixed fields by kind and width. SIP2 2.00 defines only one value of item_properties_ok: 1 (stored)."""

PARTS: Final = {name: FixedField(name, width, kind) for (kind, width), names in _PARTS.items() for name in names.split()}


def _read_shape(code: str, name: str, fixed: str = "", required: str = "", optional: str = "", reply: str = "") -> MessageShape:
    parts = tuple(PARTS[part] for part in fixed.split())
    width = sum(part.width for part in parts)
    return MessageShape(code, name, parts, tuple(required.split()), tuple(optional.split()), reply, width)


_ROWS: Final[dict[str, dict[str, str]]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
SHAPES: Final = {code: _read_shape(code, **row) for code, row in _ROWS.items()}

BX: Final = ("23", "11", "09", "01", "99", "97", "93", "63", "35", "37", "17", "19", "25", "15", "29", "65")
"""The meaning of the positions of BX. Source: SIP2 2.00, supported messages."""

RESEND: Final = "97"
"""Code of the message with which a terminal requests our last message again."""
GARBLED: Final = "96"
"""Code of the message with which we request the terminal's last message again."""
