"""ISBNs in one form: thirteen digits, however they were written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_SEPARATORS: Final = re.compile(r"[;,|\s]+")
_LIKE_ISBN: Final = re.compile(r"[0-9][0-9 \-\u2010-\u2015]{8,20}[0-9Xx]")


def isbn_13(text: str) -> str:
    """Return the ISBN-13 of an ISBN-10 or ISBN-13 with or without hyphens and blanks; "" if it is none."""
    from stdnum import ean, isbn
    from stdnum.exceptions import ValidationError

    if not _LIKE_ISBN.fullmatch(text):
        return ""
    try:
        number = str(isbn.validate(text))
    except ValidationError:
        return ""
    # Not `to_isbn13`: it cleans and checks the number a second and a third time.
    return number if len(number) == 13 else f"978{number[:9]}{ean.calc_check_digit('978' + number[:9])}"


def isbns_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the ISBN-13s in the cells of a file, each once; a cell may hold several, with ; or blanks between them."""
    numbers = (isbn_13(number) for text in texts if text for number in _SEPARATORS.split(text))
    return tuple(dict.fromkeys(number for number in numbers if number))
