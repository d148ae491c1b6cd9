"""The structure of SIP2 messages: one row a message, one row a part of fixed width."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class FixedField:
    """One piece of a message's fixed beginning: no tag, no delimiter, `width` characters."""

    name: str
    width: int
    kind: str


@dataclass(frozen=True, slots=True)
class MessageShape:
    """One message.

    `reply` is the code that answers it; "" for a reply itself, and for 97, which any reply may answer. `width` is the number of
    characters between the code and the first tag.
    """

    code: str
    name: str
    fixed: tuple[FixedField, ...]
    required: tuple[str, ...]
    optional: tuple[str, ...]
    reply: str
    width: int


# fmt: off
_PARTS: Final = (
    FixedField("acs_renewal_policy",       1, "flag"),
    FixedField("alert",                    1, "flag"),
    FixedField("available",                1, "flag"),
    FixedField("card_retained",            1, "flag"),
    FixedField("charged_items_count",      4, "digits"),
    FixedField("checkin_ok",               1, "flag"),
    FixedField("checkout_ok",              1, "flag"),
    FixedField("circulation_status",       2, "digits"),
    FixedField("currency_type",            3, "code"),
    FixedField("date_time_sync",          18, "date18"),
    FixedField("desensitize",              1, "flag"),
    FixedField("end_session",              1, "flag"),
    FixedField("fee_type",                 2, "digits"),
    FixedField("fine_items_count",         4, "digits"),
    FixedField("hold_items_count",         4, "digits"),
    FixedField("hold_mode",                1, "code"),
    FixedField("item_properties_ok",       1, "code"),     # 1 is stored; 2.00 leaves the other values open
    FixedField("language",                 3, "digits"),
    FixedField("magnetic_media",           1, "flag"),
    FixedField("max_print_width",          3, "digits"),
    FixedField("nb_due_date",             18, "date18"),
    FixedField("no_block",                 1, "flag"),
    FixedField("off_line_ok",              1, "flag"),
    FixedField("ok",                       1, "bit"),
    FixedField("on_line_status",           1, "flag"),
    FixedField("overdue_items_count",      4, "digits"),
    FixedField("patron_status",           14, "marks"),
    FixedField("payment_accepted",         1, "flag"),
    FixedField("payment_type",             2, "digits"),
    FixedField("protocol_version",         4, "code"),
    FixedField("pwd_algorithm",            1, "code"),
    FixedField("recall_items_count",       4, "digits"),
    FixedField("renewal_ok",               1, "flag"),
    FixedField("renewed_count",            4, "digits"),
    FixedField("resensitize",              1, "flag"),
    FixedField("retries_allowed",          3, "digits"),
    FixedField("return_date",             18, "date18"),
    FixedField("sc_renewal_policy",        1, "flag"),
    FixedField("security_marker",          2, "digits"),
    FixedField("status_code",              1, "digits"),
    FixedField("status_update_ok",         1, "flag"),
    FixedField("summary",                 10, "marks"),
    FixedField("third_party_allowed",      1, "flag"),
    FixedField("timeout_period",           3, "digits"),
    FixedField("transaction_date",        18, "date18"),
    FixedField("uid_algorithm",            1, "code"),
    FixedField("unavailable_holds_count",  4, "digits"),
    FixedField("unrenewed_count",          4, "digits"),
)
# fmt: on

PARTS: Final[dict[str, FixedField]] = {part.name: part for part in _PARTS}


def _row(code: str, name: str, fixed: str, required: str, optional: str, reply: str = "") -> MessageShape:
    parts = tuple(PARTS[part] for part in fixed.split())
    width = sum(part.width for part in parts)
    return MessageShape(code, name, parts, tuple(required.split()), tuple(optional.split()), reply, width)


# fmt: off
_ROWS: Final = (
    # Requests of a terminal.
    _row("01", "Block Patron",       "card_retained transaction_date", "AO AL AA AC", "", "24"),
    _row("09", "Checkin",            "no_block transaction_date return_date", "AP AO AB AC", "CH BI", "10"),
    _row("11", "Checkout",           "sc_renewal_policy no_block transaction_date nb_due_date",
         "AO AA AB AC", "CH AD BO BI", "12"),
    _row("15", "Hold",               "hold_mode transaction_date", "AO AA", "BW BS BY AD AB AJ AC BO", "16"),
    _row("17", "Item Information",   "transaction_date", "AO AB", "AC", "18"),
    _row("19", "Item Status Update", "transaction_date", "AO AB CH", "AC", "20"),
    _row("23", "Patron Status Request", "language transaction_date", "AO AA AC AD", "", "24"),
    _row("25", "Patron Enable",      "transaction_date", "AO AA", "AC AD", "26"),
    _row("29", "Renew",              "third_party_allowed no_block transaction_date nb_due_date",
         "AO AA", "AD AB AJ AC CH BO", "30"),
    _row("35", "End Patron Session", "transaction_date", "AO AA", "AC AD", "36"),
    _row("37", "Fee Paid",           "transaction_date fee_type payment_type currency_type",
         "BV AO AA", "AC AD CG BK", "38"),
    _row("63", "Patron Information", "language transaction_date summary", "AO AA", "AC AD BP BQ", "64"),
    _row("65", "Renew All",          "transaction_date", "AO AA", "AD AC BO", "66"),
    _row("93", "Login",              "uid_algorithm pwd_algorithm", "CN CO", "CP", "94"),
    _row("97", "Request ACS Resend", "", "", ""),
    _row("99", "SC Status",          "status_code max_print_width protocol_version", "", "", "98"),
    # Replies of the library.
    _row("10", "Checkin Response",   "ok resensitize magnetic_media alert transaction_date",
         "AO AB AQ", "AJ CL AA CK CH AF AG"),
    _row("12", "Checkout Response",  "ok renewal_ok magnetic_media desensitize transaction_date",
         "AO AA AB AJ AH", "BT CI BH BV CK CH BK AF AG"),
    _row("16", "Hold Response",      "ok available transaction_date", "AO AA", "BW BR BS AB AJ AF AG"),
    _row("18", "Item Information Response", "circulation_status security_marker fee_type transaction_date",
         "AB AJ", "CF AH CJ CM BG BH BV CK AQ AP CH AF AG"),
    _row("20", "Item Status Update Response", "item_properties_ok transaction_date", "AB", "AJ CH AF AG"),
    _row("24", "Patron Status Response", "patron_status language transaction_date",
         "AO AA AE", "BL CQ BH BV AF AG"),
    _row("26", "Patron Enable Response", "patron_status language transaction_date", "AO AA AE", "BL CQ AF AG"),
    _row("30", "Renew Response",     "ok renewal_ok magnetic_media desensitize transaction_date",
         "AO AA AB AJ AH", "BT CI BH BV CK CH BK AF AG"),
    _row("36", "End Session Response", "end_session transaction_date", "AO AA", "AF AG"),
    _row("38", "Fee Paid Response",  "payment_accepted transaction_date", "AO AA", "BK AF AG"),
    _row("64", "Patron Information Response",
         "patron_status language transaction_date hold_items_count overdue_items_count charged_items_count"
         " fine_items_count recall_items_count unavailable_holds_count",
         "AO AA AE", "BZ CA CB BL CQ BH BV CC AS AT AU AV BU CD BD BE BF AF AG"),
    _row("66", "Renew All Response", "ok renewed_count unrenewed_count transaction_date", "AO", "BM BN AF AG"),
    _row("94", "Login Response",     "ok", "", ""),
    _row("96", "Request SC Resend",  "", "", ""),
    _row("98", "ACS Status",
         "on_line_status checkin_ok checkout_ok acs_renewal_policy status_update_ok off_line_ok timeout_period"
         " retries_allowed date_time_sync protocol_version",
         "AO BX", "AM AN AF AG"),
)
# fmt: on

SHAPES: Final[dict[str, MessageShape]] = {row.code: row for row in _ROWS}

BX: Final = ("23", "11", "09", "01", "99", "97", "93", "63", "35", "37", "17", "19", "25", "15", "29", "65")
"""The meaning of the positions of BX. Source: SIP2 2.00, supported messages."""

RESEND: Final = "97"
"""The terminal requests our last message again."""
GARBLED: Final = "96"
"""We request the terminal's last message again."""
