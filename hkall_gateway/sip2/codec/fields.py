"""SIP2 fields: one row for each tag, and the functions that parse and write their values."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from typing import Final

from hkall_gateway.rules.dates import parse_instant

LONGEST: Final = 255
"""Characters in a variable field. Source: SIP2 2.00."""


@dataclass(frozen=True, slots=True)
class FieldKind:
    """How a kind of value is parsed, and written at a width (0 = its own length)."""

    parse: Callable[[str], str]
    emit: Callable[[str, int], str]


@dataclass(frozen=True, slots=True)
class Tag:
    """A tagged field. `width` 0 is a variable field of at most 255 characters.

    A `secret` must never be shown (a password, a PIN); `personal` identifies a person. An `extension` is not in SIP2 2.00 and
    is sent only if the terminal's dialect lists it.
    """

    tag: str
    name: str
    kind: str = "text"
    width: int = 0
    repeats: bool = False
    secret: bool = False
    personal: bool = False
    extension: bool = False


def _parse_unchanged(value: str) -> str:
    return value


def _emit_text(value: str, _width: int) -> str:
    return value


def _emit_barcode(value: str, _width: int) -> str:
    return value.strip()


def _emit_code(value: str, width: int) -> str:
    """Return printable ASCII characters, cut or padded with blanks."""
    plain = value if value.isascii() and value.isprintable() else "".join(c if " " <= c <= "~" else " " for c in value)
    return plain[:width].ljust(width)


def _emit_flag(value: str, _width: int) -> str:
    """Return Y, N or U; every other value becomes N. A blank CQ has been read as a valid PIN (NYPL circulation PR 756)."""
    return value if value in ("Y", "N", "U") else "N"


def _emit_bit(value: str, _width: int) -> str:
    return "1" if value == "1" else "0"


def _emit_marks(value: str, width: int) -> str:
    """Return a row of marks by position, each Y or blank."""
    return "".join("Y" if c == "Y" else " " for c in value[:width]).ljust(width)


def _emit_digits(value: str, width: int) -> str:
    """Return zero-filled digits; a number that does not fit becomes the largest that does."""
    number = value.strip()
    if not (number.isascii() and number.isdecimal()):
        return "0" * width
    significant = number.lstrip("0")
    return "9" * width if len(significant) > width else significant.zfill(width)


# fmt: off
KINDS: Final[dict[str, FieldKind]] = {
    "text":    FieldKind(_parse_unchanged, _emit_text),
    "barcode": FieldKind(str.strip, _emit_barcode),   # terminals send scanned blanks along (edge-sip2 SIP2-98)
    "code":    FieldKind(_parse_unchanged, _emit_code),
    "flag":    FieldKind(_parse_unchanged, _emit_flag),
    "bit":     FieldKind(_parse_unchanged, _emit_bit),
    "marks":   FieldKind(_parse_unchanged, _emit_marks),
    "digits":  FieldKind(_parse_unchanged, _emit_digits),
    "date18":  FieldKind(_parse_unchanged, _emit_code),      # blank and odd dates are kept; `parse_date18` judges them
}

_ROWS: Final = (
    Tag("AA", "patron identifier",      "barcode", personal=True),
    Tag("AB", "item identifier",        "barcode"),
    Tag("AC", "terminal password",      secret=True),
    Tag("AD", "patron password",        secret=True),
    Tag("AE", "personal name",          personal=True),
    Tag("AF", "screen message",         repeats=True),
    Tag("AG", "print line",             repeats=True),
    Tag("AH", "due date"),
    Tag("AJ", "title identifier"),
    Tag("AL", "blocked card msg"),
    Tag("AM", "library name"),
    Tag("AN", "terminal location"),
    Tag("AO", "institution id"),
    Tag("AP", "current location"),
    Tag("AQ", "permanent location"),
    Tag("AS", "hold items",             repeats=True),
    Tag("AT", "overdue items",          repeats=True),
    Tag("AU", "charged items",          repeats=True),
    Tag("AV", "fine items",             repeats=True),
    Tag("AY", "sequence number",        "digits", 1),
    Tag("AZ", "checksum",               "code",   4),
    Tag("BD", "home address",           personal=True),
    Tag("BE", "e-mail address",         personal=True),
    Tag("BF", "home phone number",      personal=True),
    Tag("BG", "owner"),
    Tag("BH", "currency type",          "code",   3),
    Tag("BI", "cancel",                 "flag",   1),
    Tag("BK", "transaction id"),
    Tag("BL", "valid patron",           "flag",   1),
    Tag("BM", "renewed items",          repeats=True),
    Tag("BN", "unrenewed items",        repeats=True),
    Tag("BO", "fee acknowledged",       "flag",   1),
    Tag("BP", "start item"),
    Tag("BQ", "end item"),
    Tag("BR", "queue position"),
    Tag("BS", "pickup location"),
    Tag("BT", "fee type",               "digits", 2),
    Tag("BU", "recall items",           repeats=True),
    Tag("BV", "fee amount"),
    Tag("BW", "expiration date",        "date18", 18),
    Tag("BX", "supported messages"),
    Tag("BY", "hold type",              "digits", 1),
    Tag("BZ", "hold items limit",       "digits", 4),
    Tag("CA", "overdue items limit",    "digits", 4),
    Tag("CB", "charged items limit",    "digits", 4),
    Tag("CC", "fee limit"),
    Tag("CD", "unavailable hold items", repeats=True),
    Tag("CF", "hold queue length"),
    Tag("CG", "fee identifier"),
    Tag("CH", "item properties"),
    Tag("CI", "security inhibit",       "flag",   1),
    Tag("CJ", "recall date",            "date18", 18),
    Tag("CK", "media type",             "digits", 3),
    Tag("CL", "sort bin"),
    Tag("CM", "hold pickup date",       "date18", 18),
    Tag("CN", "login user id"),
    Tag("CO", "login password",         secret=True),
    Tag("CP", "location code"),
    Tag("CQ", "valid patron password",  "flag",   1),
    # Beyond 2.00. Source: 3M's sorter extensions and the Envisionware set, as Koha and FOLIO send them.
    Tag("CR", "collection code",        extension=True),
    Tag("CS", "call number",            extension=True),
    Tag("CT", "destination location",   extension=True),
    Tag("CV", "alert type",             "digits", 2, extension=True),
    Tag("CY", "hold patron id",         "barcode", personal=True, extension=True),
    Tag("DA", "hold patron name",       personal=True, extension=True),
    Tag("PA", "privilege expiry",       extension=True),
    Tag("PB", "birth date",             personal=True, extension=True),
    Tag("PC", "patron class",           extension=True),
)
# fmt: on

TAGS: Final[dict[str, Tag]] = {row.tag: row for row in _ROWS}

CONTROLS: Final[dict[int, str]] = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFFFE, 0xFFFF), " ")
"""Translation table to blanks, for characters that may break a frame, a terminal's screen or a database text.

No line is refused for one: old terminals fill fields up with NUL. `rules.plain_text` has the characters that no text may have.
"""

# Letters that NFKD does not take apart, and the nearest ASCII that a reader accepts.
# fmt: off
NEAREST: Final = {
    "‘": "'",  "’": "'",  "“": '"',  "”": '"',  "–": "-",  "—": "-",  "′": "'", "″": '"', "«": '"', "»": '"',
    "ß": "ss", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ø": "o",  "Ø": "O", "ł": "l", "Ł": "L",
    "đ": "d",  "Đ": "D",  "ð": "d",  "Ð": "D",  "þ": "th", "Þ": "Th", "ı": "i", "ħ": "h", "Ħ": "H",
}
# fmt: on

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)

_DATE18: Final = re.compile(r"([0-9]{8})(.{0,5}?)([0-9]{6})")
_OFFSET: Final = re.compile(r"([+-]?)([0-9]{2})([0-9]{0,2})")
_MILITARY: Final = {letter: hour for hour, letter in enumerate("YXWVUTSRQPONZABCDEFGHIKLM", start=-12)}
"""The zone letters: Z is UTC, Q is Atlantic (-4), R Eastern … Source: SIP2 2.00, which names the American ones."""


def date18(when: datetime, zone: tzinfo) -> str:
    """Format an instant as `YYYYMMDD    HHMMSS` in the local time of `zone`; the four blanks mean "local".

    Raises ValueError if `when` is not aware. Source: SIP2 2.00, which prefers blanks.
    """
    if when.tzinfo is None:
        raise ValueError(f"{when.isoformat()} has no time zone")
    return _format_second((when - _EPOCH) // _SECOND, zone)


@lru_cache(maxsize=256)
def _format_second(second: int, zone: tzinfo) -> str:
    # Many messages come in one second, and due dates are few.
    local = datetime.fromtimestamp(second, zone)
    return f"{local.year:04}{local:%m%d}    {local:%H%M%S}"


def parse_date18(text: str, zone: tzinfo) -> datetime | None:
    """Return the instant of a SIP2 date in UTC; None if it is blank, zeros, or not a date.

    Four blanks are local time of `zone`, `   Z` and the other letters are military time zones, `0000` is UTC (Library
    Simplified's client sends UTC under it), and `+0800` or `-03` are offsets. An unknown zone is read as local.
    """
    match = _DATE18.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return parse_instant(f"{match[1]}T{match[3]}", _parse_zone(match[2].strip(), zone))
    except ValueError:
        return None


def clean_value(value: str, encoding: str, delimiter: str) -> str:
    """Return a sendable value.

    Control characters and the delimiter become blanks; letters outside the character set are replaced.
    """
    # The nearest letters come first: NFKD makes a plain bar of a full-width one.
    spelt = value if value.isascii() else _fit_encoding(value, encoding)
    return spelt.translate(_blank_table(delimiter))


def split_into_fields(text: str) -> list[str]:
    """Split a text into pieces of at most 255 characters; an accent stays with its letter."""
    pieces = []
    while len(text) > LONGEST:
        # Eight combining marks on one letter are not real text; looking further back would only cost time.
        at = next((i for i in range(LONGEST, LONGEST - 8, -1) if not unicodedata.combining(text[i])), LONGEST)
        pieces.append(text[:at])
        text = text[at:]
    return [*pieces, text]


@lru_cache
def _blank_table(delimiter: str) -> dict[int, str]:
    return {**CONTROLS, ord(delimiter): " "}


def _fit_encoding(value: str, encoding: str) -> str:
    try:
        value.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_nearest_letter(c, encoding) for c in unicodedata.normalize("NFC", value))
    return value


@lru_cache(maxsize=4096)
def _nearest_letter(letter: str, encoding: str) -> str:
    """Return the letter, else the letter without accents, else `?`."""
    try:
        return letter.encode(encoding).decode(encoding)
    except UnicodeEncodeError:
        plain = NEAREST.get(letter) or unicodedata.normalize("NFKD", letter)
        kept = "".join(c for c in plain if not unicodedata.combining(c))
        return kept.encode(encoding, "replace").decode(encoding)


def _parse_zone(text: str, local: tzinfo) -> tzinfo:
    if text in _MILITARY:
        return timezone(timedelta(hours=_MILITARY[text]))
    offset = _OFFSET.fullmatch(text)
    if offset is None or int(offset[2]) > 14:
        return local
    minutes = int(offset[2]) * 60 + int(offset[3].ljust(2, "0"))
    return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
