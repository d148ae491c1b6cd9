"""[[sip2.dialects]]: a site's own row for a make of terminal, as the differences from a row of the package."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import AfterValidator, Field

from hkall_gateway.config.loading import Strict
from hkall_gateway.rules.plain_text import listed, nearest
from hkall_gateway.rules.values import Natural, Text
from hkall_gateway.sip2.codec.dialects import DIALECTS
from hkall_gateway.sip2.codec.fields import TAGS
from hkall_gateway.sip2.codec.messages import SHAPES

PRINTABLE: Final = "".join(map(chr, range(32, 127)))
ANY_DAY: Final = datetime(2017, 3, 16)  # noqa: DTZ001 - a pattern is tried, no instant is meant
NEVER_SENT: Final = frozenset({"PB"})
"""A birth date is in no row: it serves no purpose."""
ALWAYS_SENT: Final = frozenset({"AY", "AZ", "BL", "CQ"})
"""Optional in 2.00; but a terminal without CQ may assume that the PIN is right."""


def _like(name: str) -> str:
    if name not in DIALECTS:
        raise ValueError(f"must be {listed(DIALECTS)}{nearest(name, DIALECTS)}")
    return name


def _encoding(name: str) -> str:
    try:
        plain = PRINTABLE.encode(name) == PRINTABLE.encode("ascii")
    except (LookupError, UnicodeError):
        plain = False
    if not plain:
        raise ValueError(f"{name!r} is no character set that keeps ASCII as it is, like utf-8, cp850 or big5hkscs")
    return name


def _delimiter(text: str) -> str:
    if len(text) != 1 or text not in PRINTABLE or text.isalnum() or text == " ":
        raise ValueError(f"{text!r} is not one ASCII sign, like | or ^")
    return text


def _date_pattern(text: str) -> str:
    if not ANY_DAY.strftime(text).isprintable() or (text and ANY_DAY.strftime(text) == text):
        raise ValueError(f"{text!r} shows no date; %Y-%m-%d does")
    return text


def _extension(tag: str) -> str:
    known = sorted(name for name, row in TAGS.items() if row.extension and name not in NEVER_SENT)
    if tag not in known:
        raise ValueError(f"{tag!r} is no extension; {listed(known)} are")
    return tag


def _optional(tag: str) -> str:
    if tag not in TAGS:
        raise ValueError(f"{tag!r} is no field{nearest(tag, TAGS)}")
    if tag in ALWAYS_SENT or any(tag in shape.required for shape in SHAPES.values()):
        raise ValueError(f"{tag!r} is always sent where it belongs")
    return tag


def _request(code: str) -> str:
    requests = sorted(name for name, shape in SHAPES.items() if shape.reply and name not in ("93", "97", "99"))
    if code not in requests:
        raise ValueError(f"{code!r} is no message that can be withheld; {listed(requests)} are")
    return code


Tags: TypeAlias = tuple[Annotated[str, AfterValidator(_optional)], ...]


class DialectConfig(Strict):
    """A make of terminal that no row of the package fits. Keys that are absent are as in `like`."""

    name: Text = Field(description="its name for terminals, listeners and framings")
    like: Annotated[str, AfterValidator(_like)] = Field(default="standard", description="the packaged row that it differs from")
    encoding: Annotated[str, AfterValidator(_encoding)] | None = Field(default=None, description="character set of the lines")
    delimiter: Annotated[str, AfterValidator(_delimiter)] | None = Field(default=None, description="ends a field")
    terminator: Literal["CR", "CRLF"] | None = Field(default=None, description="ends our lines")
    error_detection: bool | None = Field(default=None, description="96 and 97 carry a checksum")
    max_line: Natural | None = Field(default=None, description="longest line in bytes")
    ah_format: Annotated[str, AfterValidator(_date_pattern)] | None = Field(
        default=None, description="strftime pattern of the due date; empty for YYYYMMDDZZZZHHMMSS"
    )
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] | None = Field(default=None, description="ISO 4217 code in BH")
    extensions: tuple[Annotated[str, AfterValidator(_extension)], ...] | None = Field(
        default=None, description="tags beyond 2.00 that are sent"
    )
    hidden: Tags | None = Field(default=None, description="optional tags that are neither sent nor relayed")
    pin_required: bool | None = Field(default=None, description="a patron's message without the right PIN is refused")
    contact_without_pin: bool | None = Field(default=None, description="e-mail and the like are shown without a PIN")
    withheld: tuple[Annotated[str, AfterValidator(_request)], ...] | None = Field(
        default=None, description="messages that are not offered"
    )
    offline: bool | None = Field(default=None, description="may lend while the connection is down (98)")
    alerts: Literal["always", "with_alert"] | None = Field(default=None, description="when CV is sent")
    unknown: Literal["leave_out", "no"] | None = Field(
        default=None, description="BL and CQ of a card that cannot be looked up at the moment: left out, or N"
    )
    disclose: Literal["after_pin", "card"] | None = Field(
        default=None, description="name, counts and lists: not after a wrong PIN, or for the card alone"
    )
    no_checkin: Literal["alert", "resensitize"] | None = Field(
        default=None, description="a check-in of a copy that is not out: refused with the alert flag, or as 100YNN"
    )
    list_titles: bool | None = Field(default=None, description="titles in the lists of 64")
    timeout_tenths: Annotated[int, Field(ge=0, le=999)] | None = Field(default=None, description="98, tenths of a second")
    retries: Annotated[int, Field(ge=0, le=999)] | None = Field(default=None, description="98, tries of one message")
