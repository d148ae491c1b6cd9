"""ISBNs in one form: thirteen digits, however they were written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_SEPARATORS: Final = re.compile(r"[;,|\s]+")
_GAPS: Final = re.compile(r"[ \-\u2010-\u2015]+")
_PREFIXES: Final = ("978", "979")
_LIKE_ISBN: Final = re.compile(r"[0-9][0-9 \-\u2010-\u2015]{8,20}[0-9Xx]")


def isbn_13(text: str) -> str:
    """Return the ISBN-13 of an ISBN-10 or ISBN-13 with or without hyphens and blanks; "" if it is none."""
    from stdnum import ean, isbn

    if not _LIKE_ISBN.fullmatch(text):
        return ""
    number = _GAPS.sub("", text)
    number = f"0{number}" if len(number) == 9 else number
    if len(number) == 10 and isbn.is_valid(number):
        number = f"978{number[:9]}"
        return number + str(ean.calc_check_digit(number))
    # Not `is_valid`, which cleans the number three times: a catalogue has millions.
    is_isbn = len(number) == 13 and number.startswith(_PREFIXES) and number.isdigit()
    return number if is_isbn and ean.calc_check_digit(number[:-1]) == number[-1] else ""


def isbns_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the ISBN-13s in the cells of a file, each once; a cell may hold several, with ; or blanks between them."""
    numbers = (isbn_13(number) for text in texts if text for number in _SEPARATORS.split(text))
    return tuple(dict.fromkeys(number for number in numbers if number))
