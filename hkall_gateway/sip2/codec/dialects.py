"""SIP2 dialects: one row for each terminal model, with settings for the codec and the handlers."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from hkall_gateway.sip2.codec.fields import date18

SORTER: Final = frozenset({"CR", "CS", "CT", "CV"})
"""Tags for the destination of a returned item, without patron data."""
TERMINATORS: Final = {"CR": b"\r", "CRLF": b"\r\n"}


T = TypeVar("T")


def _documented(default: T, doc: str) -> T:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sip2Dialect:
    """The SIP2 variant of a terminal model. A site's configuration may define further dialects with the same keys."""

    name: str
    encoding: str = _documented("utf-8", "character set of the lines")
    delimiter: str = _documented("|", "ends a field; one ASCII character")
    terminator: bytes = _documented(b"\r", "ends our lines")
    # A reply to any other message carries a checksum if the message had one.
    error_detection: bool = _documented(True, "96 and 97 carry a checksum")
    max_line: int = _documented(65536, "longest line in bytes, without its end")
    ah_format: str = _documented("", "strftime pattern of the due date; empty for YYYYMMDDZZZZHHMMSS")
    currency: str = _documented("HKD", "ISO 4217 code in BH")
    extensions: frozenset[str] = _documented(SORTER, "tags beyond 2.00 that are sent")
    hidden: frozenset[str] = _documented(frozenset(), "optional tags that are neither sent nor relayed")
    pin_required: bool = _documented(False, "a patron's message without the right PIN is refused")
    contact_without_pin: bool = _documented(False, "e-mail and the like are shown without a PIN")
    withheld: frozenset[str] = _documented(frozenset(), "messages that are not offered: BX and 98 say so, and they are refused")
    offline: bool = _documented(True, "may lend while the connection is down (98)")
    alerts: Literal["always", "with_alert"] = field(
        default="always", metadata={"doc": "when CV is sent: with every check-in, or only with the alert flag"}
    )
    unknown: Literal["leave_out", "no"] = field(
        default="leave_out", metadata={"doc": "BL and CQ of a card that cannot be looked up at the moment: left out, or N"}
    )
    disclose: Literal["after_pin", "card"] = field(
        default="after_pin", metadata={"doc": "name, counts and lists: not after a wrong PIN, or for the card alone"}
    )
    no_checkin: Literal["alert", "resensitize"] = field(
        default="alert",
        metadata={"doc": "a check-in of a copy that is not out: refused with the alert flag, or as 100YNN"},
    )
    list_titles: bool = _documented(False, "titles in the lists of 64")
    timeout_tenths: int = _documented(100, "98, tenths of a second")
    retries: int = _documented(3, "98, tries of one message")

    def __hash__(self) -> int:
        """Hash only the name: every line looks up cached data by dialect, and hashing twenty fields is slow."""
        return hash(self.name)

    def due_text(self, due: datetime, zone: tzinfo) -> str:
        """Format an aware due time (AH) in the local time of `zone`."""
        return due.astimezone(zone).strftime(self.ah_format) if self.ah_format else date18(due, zone)

    def framed_as(self, line: Sip2Dialect) -> Sip2Dialect:
        """Return this dialect with the framing of `line`. The framing must be known before the login can be read."""
        return replace(
            self,
            encoding=line.encoding,
            delimiter=line.delimiter,
            terminator=line.terminator,
            error_detection=line.error_detection,
            max_line=line.max_line,
        )


def differing(base: Sip2Dialect, row: Mapping[str, object]) -> Sip2Dialect:
    """Return a dialect that differs from `base` in the keys of a row, which is written as in a configuration file."""
    own: dict[str, Any] = {name: frozenset(value) if isinstance(value, list | tuple) else value for name, value in row.items()}
    if "terminator" in own:
        own["terminator"] = TERMINATORS[own["terminator"]]
    return replace(base, **own)


_ROWS: Final = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
DIALECTS: Final = {name: differing(Sip2Dialect(name=name), row) for name, row in _ROWS.items()}
