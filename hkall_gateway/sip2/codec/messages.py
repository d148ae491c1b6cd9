"""The structure of SIP2 messages: one row for each message."""

from __future__ import annotations

from dataclasses import dataclass
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


def _shape(code: str, name: str, fixed: str, required: str, optional: str, reply: str = "") -> MessageShape:
    parts = tuple(PARTS[part] for part in fixed.split())
    width = sum(part.width for part in parts)
    return MessageShape(code, name, parts, tuple(required.split()), tuple(optional.split()), reply, width)


# fmt: off
_ROWS: Final = (
    # Messages from the terminal.
    _shape("01", "Block Patron",       "card_retained transaction_date", "AO AL AA AC", "", "24"),
    _shape("09", "Checkin",            "no_block transaction_date return_date", "AP AO AB AC", "CH BI", "10"),
    _shape("11", "Checkout",           "sc_renewal_policy no_block transaction_date nb_due_date",
         "AO AA AB AC", "CH AD BO BI", "12"),
    _shape("15", "Hold",               "hold_mode transaction_date", "AO AA", "BW BS BY AD AB AJ AC BO", "16"),
    _shape("17", "Item Information",   "transaction_date", "AO AB", "AC", "18"),
    _shape("19", "Item Status Update", "transaction_date", "AO AB CH", "AC", "20"),
    _shape("23", "Patron Status Request", "language transaction_date", "AO AA AC AD", "", "24"),
    _shape("25", "Patron Enable",      "transaction_date", "AO AA", "AC AD", "26"),
    _shape("29", "Renew",              "third_party_allowed no_block transaction_date nb_due_date",
         "AO AA", "AD AB AJ AC CH BO", "30"),
    _shape("35", "End Patron Session", "transaction_date", "AO AA", "AC AD", "36"),
    _shape("37", "Fee Paid",           "transaction_date fee_type payment_type currency_type",
         "BV AO AA", "AC AD CG BK", "38"),
    _shape("63", "Patron Information", "language transaction_date summary", "AO AA", "AC AD BP BQ", "64"),
    _shape("65", "Renew All",          "transaction_date", "AO AA", "AD AC BO", "66"),
    _shape("93", "Login",              "uid_algorithm pwd_algorithm", "CN CO", "CP", "94"),
    _shape("97", "Request ACS Resend", "", "", ""),
    _shape("99", "SC Status",          "status_code max_print_width protocol_version", "", "", "98"),
    # Replies to the terminal.
    _shape("10", "Checkin Response",   "ok resensitize magnetic_media alert transaction_date",
         "AO AB AQ", "AJ CL AA CK CH AF AG"),
    _shape("12", "Checkout Response",  "ok renewal_ok magnetic_media desensitize transaction_date",
         "AO AA AB AJ AH", "BT CI BH BV CK CH BK AF AG"),
    _shape("16", "Hold Response",      "ok available transaction_date", "AO AA", "BW BR BS AB AJ AF AG"),
    _shape("18", "Item Information Response", "circulation_status security_marker fee_type transaction_date",
         "AB AJ", "CF AH CJ CM BG BH BV CK AQ AP CH AF AG"),
    _shape("20", "Item Status Update Response", "item_properties_ok transaction_date", "AB", "AJ CH AF AG"),
    _shape("24", "Patron Status Response", "patron_status language transaction_date",
         "AO AA AE", "BL CQ BH BV AF AG"),
    _shape("26", "Patron Enable Response", "patron_status language transaction_date", "AO AA AE", "BL CQ AF AG"),
    _shape("30", "Renew Response",     "ok renewal_ok magnetic_media desensitize transaction_date",
         "AO AA AB AJ AH", "BT CI BH BV CK CH BK AF AG"),
    _shape("36", "End Session Response", "end_session transaction_date", "AO AA", "AF AG"),
    _shape("38", "Fee Paid Response",  "payment_accepted transaction_date", "AO AA", "BK AF AG"),
    _shape("64", "Patron Information Response",
         "patron_status language transaction_date hold_items_count overdue_items_count charged_items_count"
         " fine_items_count recall_items_count unavailable_holds_count",
         "AO AA AE", "BZ CA CB BL CQ BH BV CC AS AT AU AV BU CD BD BE BF AF AG"),
    _shape("66", "Renew All Response", "ok renewed_count unrenewed_count transaction_date", "AO", "BM BN AF AG"),
    _shape("94", "Login Response",     "ok", "", ""),
    _shape("96", "Request SC Resend",  "", "", ""),
    _shape("98", "ACS Status",
         "on_line_status checkin_ok checkout_ok acs_renewal_policy status_update_ok off_line_ok timeout_period"
         " retries_allowed date_time_sync protocol_version",
         "AO BX", "AM AN AF AG"),
)
# fmt: on

SHAPES: Final[dict[str, MessageShape]] = {row.code: row for row in _ROWS}

BX: Final = ("23", "11", "09", "01", "99", "97", "93", "63", "35", "37", "17", "19", "25", "15", "29", "65")
"""The meaning of the positions of BX. Source: SIP2 2.00, supported messages."""

RESEND: Final = "97"
"""Code of the message with which a terminal requests our last message again."""
GARBLED: Final = "96"
"""Code of the message with which we request the terminal's last message again."""
