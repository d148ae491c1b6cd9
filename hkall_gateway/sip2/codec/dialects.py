"""How makes of terminals differ: one row a make, flags that the codec and the handlers read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Final, Literal

from hkall_gateway.sip2.codec.fields import date18

SORTER: Final = frozenset({"CR", "CS", "CT", "CV"})
"""The destination of a returned item; contains no patron data."""
HOLD_PATRON: Final = frozenset({"CY", "DA"})
"""The patron for whom a returned item is held: for counters and sorters behind the counter."""
PATRON_DETAILS: Final = frozenset({"PA", "PC"})
"""The card's expiry date and its category. The birth date (PB) is in no row: no terminal needs it."""
TERMINATORS: Final = {"CR": b"\r", "CRLF": b"\r\n"}
STATUS_UPDATES: Final = frozenset({"01", "25"})
"""Messages that block a card and lift the block."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sip2Dialect:
    """The SIP2 variant of one make of terminal.

    `delimiter` is one ASCII character; `max_line` is bytes without the terminator. With `error_detection` our 96 and 97
    carry AZ even where the line that they answer had none; other replies follow their request. `ah_format` is a
    strftime pattern for the free due date AH, "" means date18. `extensions` are the tags beyond 2.00 that may be sent,
    `hidden` the optional tags that may not. `withheld` are messages that this make is not offered: BX and the flags of 98
    say so, and such a message is refused; `offline` says whether it may work while the line is down. `alerts`
    says when CV is sent: with every check-in, or only with the alert flag. `unknown` is how BL and CQ are sent for a card
    of unknown state while the local system is away: left out, or N. `disclose` is when name, counts and lists are
    shown: never after a wrong PIN, or for the card alone. `no_checkin` is how a check-in of a copy that is not out is refused:
    with the alert flag, or with the order to resensitize the strip. `list_titles` adds titles to the lists of 64.
    `timeout_tenths` is in tenths of a second, as 98 says it.
    """

    name: str
    encoding: str = "utf-8"
    delimiter: str = "|"
    terminator: bytes = b"\r"
    error_detection: bool = True
    max_line: int = 65536
    ah_format: str = ""
    currency: str = "HKD"
    extensions: frozenset[str] = SORTER
    hidden: frozenset[str] = frozenset()
    pin_required: bool = False
    contact_without_pin: bool = False
    withheld: frozenset[str] = frozenset()
    offline: bool = True
    alerts: Literal["always", "with_alert"] = "always"
    unknown: Literal["leave_out", "no"] = "leave_out"
    disclose: Literal["after_pin", "card"] = "after_pin"
    no_checkin: Literal["alert", "resensitize"] = "alert"
    list_titles: bool = False
    timeout_tenths: int = 100
    retries: int = 3

    def __hash__(self) -> int:
        """Hashes the name alone: each line looks up cached data by dialect, and hashing twenty fields is slow."""
        return hash(self.name)

    def due_text(self, due: datetime, zone: tzinfo) -> str:
        """The due date as this terminal shows it (AH). `due` is aware; the text is in the local time of `zone`."""
        return due.astimezone(zone).strftime(self.ah_format) if self.ah_format else date18(due, zone)

    def framed_as(self, line: Sip2Dialect) -> Sip2Dialect:
        """Returns this dialect with the framing of `line`: the framing must be known before the login can be read."""
        return replace(
            self,
            encoding=line.encoding,
            delimiter=line.delimiter,
            terminator=line.terminator,
            error_detection=line.error_detection,
            max_line=line.max_line,
        )


# fmt: off
_ROWS: Final = (
    Sip2Dialect(name="standard"),
    Sip2Dialect(name="crlf",           terminator=b"\r\n"),            # waits for LF, as Koha's default sends it
    Sip2Dialect(name="cp850",          encoding="cp850"),              # the character set of the 2.00 document
    Sip2Dialect(name="latin-1",        encoding="latin-1"),
    Sip2Dialect(name="ascii-stripped", encoding="ascii"),              # displays that cannot show accents
    Sip2Dialect(name="big5",           encoding="big5hkscs"),          # older Hong Kong and Taiwan terminals
    Sip2Dialect(name="plain",          extensions=frozenset()),        # stumbles over tags that 2.00 does not know
    Sip2Dialect(name="sorter",         extensions=SORTER | HOLD_PATRON),
    Sip2Dialect(name="counter",        extensions=SORTER | HOLD_PATRON | PATRON_DETAILS, contact_without_pin=True,
            list_titles=True),
    Sip2Dialect(name="alert-only",     alerts="with_alert"),           # rings at every CV, whatever its value
    Sip2Dialect(name="pin",            pin_required=True),             # self-checks that ask for card and PIN
    Sip2Dialect(name="iso-due",        ah_format="%Y-%m-%d"),          # prints AH on the slip as it is
    Sip2Dialect(name="private",        hidden=frozenset({"BE", "AS", "AT", "AU", "AV", "BU", "CD"})),  # 64 trips it (CalState)
    Sip2Dialect(name="public",         withheld=STATUS_UPDATES, offline=False),  # in a public place: any message may arrive
)
# fmt: on

DIALECTS: Final[dict[str, Sip2Dialect]] = {row.name: row for row in _ROWS}
