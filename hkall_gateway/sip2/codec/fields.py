"""SIP2 fields: the tags, as listed in `fields.toml`, and functions that parse and write values."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from hkall_gateway.rules.dates import parse_instant

LONGEST: Final = 255
"""Maximum number of characters in a variable field. Source: SIP2 2.00."""


@dataclass(frozen=True, slots=True)
class FieldKind:
    """Functions to parse a kind of value, and to write the value at a given width (0 for variable length)."""

    parse: Callable[[str], str]
    emit: Callable[[str, int], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    """A tagged field.

    Attributes:
        width: Number of characters; 0 for a variable field of at most 255 characters.
        secret: Whether the value must never be shown (a password or PIN).
        personal: Whether the value identifies a person.
        extension: Whether the tag is not in SIP2 2.00 and is sent only if the terminal's dialect lists it.
    """

    tag: str
    name: str
    kind: str = "text"
    width: int = 0
    repeats: bool = False
    secret: bool = False
    personal: bool = False
    extension: bool = False


def _emit_code(value: str, width: int) -> str:
    """Replace characters outside printable ASCII by blanks, and cut or pad to the width."""
    plain = value if value.isascii() and value.isprintable() else "".join(c if " " <= c <= "~" else " " for c in value)
    return plain[:width].ljust(width)


def _emit_flag(value: str, _width: int) -> str:
    """Return Y, N or U; any other value becomes N. A client took a blank CQ for a valid PIN (NYPL circulation PR 756)."""
    return value if value in ("Y", "N", "U") else "N"


def _emit_marks(value: str, width: int) -> str:
    """Return a Y or a blank for each position."""
    return "".join("Y" if c == "Y" else " " for c in value[:width]).ljust(width)


def _emit_digits(value: str, width: int) -> str:
    """Return zero-padded digits; a number that is too large becomes the largest possible number."""
    number = value.strip()
    if not (number.isascii() and number.isdecimal()):
        return "0" * width
    significant = number.lstrip("0")
    return "9" * width if len(significant) > width else significant.zfill(width)


# fmt: off
KINDS: Final[dict[str, FieldKind]] = {
    "text":    FieldKind(str, lambda value, _width: value),
    "barcode": FieldKind(str.strip, lambda value, _width: value.strip()),   # scanners may add blanks (edge-sip2 SIP2-98)
    "code":    FieldKind(str, _emit_code),
    "flag":    FieldKind(str, _emit_flag),
    "bit":     FieldKind(str, lambda value, _width: "1" if value == "1" else "0"),
    "marks":   FieldKind(str, _emit_marks),
    "digits":  FieldKind(str, _emit_digits),
    "date18":  FieldKind(str, _emit_code),      # blank and invalid dates are kept; `parse_date18` checks them
}
# fmt: on

_ROWS: Final[dict[str, dict[str, Any]]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
TAGS: Final = {tag: Tag(tag=tag, **row) for tag, row in _ROWS.items()}

CONTROLS: Final[dict[int, str]] = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFFFE, 0xFFFF), " ")
"""Translation table that blanks characters which may break a line, a terminal's screen or a text in the database.

Lines with such characters are not refused, since old terminals pad fields with NUL. For all other texts see `rules.plain_text`.
"""

# Letters and punctuation that NFKD does not decompose, with an acceptable ASCII replacement.
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
"""UTC offsets in hours by military zone letter: Z is UTC, Q is Atlantic (-4). Source: SIP2 2.00, for the American zones."""


def date18(when: datetime, zone: tzinfo) -> str:
    """Format a time as `YYYYMMDD    HHMMSS` in the local time of `zone`. The four blanks mean local time.

    Raise ValueError if `when` is not aware. Source: SIP2 2.00, which prefers blanks.
    """
    if when.tzinfo is None:
        raise ValueError(f"{when.isoformat()} has no time zone")
    return _format_second((when - _EPOCH) // _SECOND, zone)


@lru_cache(maxsize=256)
def _format_second(second: int, zone: tzinfo) -> str:
    # Cached because many messages arrive in the same second, and many loans share a due date.
    local = datetime.fromtimestamp(second, zone)
    return f"{local.year:04}{local:%m%d}    {local:%H%M%S}"


def parse_date18(text: str, zone: tzinfo) -> datetime | None:
    """Parse a SIP2 date into a datetime in UTC; return None if it is blank, all zeros, or invalid.

    Four blanks mean the local time of `zone`, `   Z` and other letters a military time zone, `0000` UTC (sent by Library
    Simplified's client), and `+0800` or `-03` an offset. An unknown zone is taken for local time.
    """
    match = _DATE18.fullmatch(text.strip())
    if match is None:
        return None
    try:
        return parse_instant(f"{match[1]}T{match[3]}", _parse_zone(match[2].strip(), zone))
    except ValueError:
        return None


def clean_value(value: str, encoding: str, delimiter: str) -> str:
    """Replace control characters and the delimiter by blanks, and letters outside the character set by similar letters."""
    # Letters are replaced first, because NFKD converts a full-width bar to a plain bar, which may be the delimiter.
    spelt = value if value.isascii() else _fit_encoding(value, encoding)
    return spelt.translate(_blank_table(delimiter))


def split_into_fields(text: str) -> list[str]:
    """Split a text into pieces of at most 255 characters, without separating a combining accent from its letter."""
    pieces = []
    while len(text) > LONGEST:
        # Real text does not have eight combining marks on one letter, so looking further back would only waste time.
        at = next((i for i in range(LONGEST, LONGEST - 8, -1) if not unicodedata.combining(text[i])), LONGEST)
        pieces.append(text[:at])
        text = text[at:]
    return [*pieces, text]


@lru_cache
def _blank_table(delimiter: str) -> dict[int, str]:
    return {**CONTROLS, ord(delimiter): " "}


_LOST: Final = "\ufffe"
"""A noncharacter in place of each letter that a character set does not have."""


_BARCODE: Final = re.compile(r"(?:#\d+ )?\S*\d\S* ")
_WORD: Final = re.compile(rf"[\w{_LOST}]+")


def _without_lost_script(text: str) -> str:
    """Omit a title's original script (城南舊事 / Cheng nan jiu shi) that the character set lacks, also after a barcode.

    A romanised title repeats all words of the original that are in Latin script. Any other text before " / " is kept.
    """
    plain = text.rpartition(_LOST)[2].partition(" / ")[2] if _LOST in text else ""
    original, barcode = text.removesuffix(plain).removesuffix(" / "), _BARCODE.match(text)
    romanised = {word.casefold() for word in _WORD.findall(plain)}
    for before in ("", barcode[0] if barcode else ""):
        words = {word.casefold() for word in _WORD.findall(original.removeprefix(before)) if _LOST not in word}
        if romanised and words <= romanised:
            return before + plain
    return text


def _fit_encoding(value: str, encoding: str) -> str:
    try:
        value.encode(encoding)
    except UnicodeEncodeError:
        letters = [(c, _nearest_letter(c, encoding)) for c in unicodedata.normalize("NFC", value)]
        return _without_lost_script("".join(_LOST if near == "?" != c else near for c, near in letters)).replace(_LOST, "?")
    return value


@lru_cache(maxsize=4096)
def _nearest_letter(letter: str, encoding: str) -> str:
    """Return the letter if it can be encoded, otherwise the letter without accents, otherwise `?`."""
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
