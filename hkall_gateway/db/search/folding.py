"""Split a text into words for comparison, without case, diacritics and punctuation, and in simplified Chinese.

The index and the queries use the same words, so that both databases find the same titles.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any, Final

_SEPARATORS: Final = re.compile(r"[;,|\s]+")
_GAPS: Final = re.compile(r"[ \-\u2010-\u2015]+")
_PREFIXES: Final = ("978", "979")
_LIKE_ISBN: Final = re.compile(r"[0-9][0-9 \-\u2010-\u2015]{8,20}[0-9Xx]")


def isbn_13(text: str) -> str:
    """Return an ISBN-10 or ISBN-13, with or without hyphens and blanks, as ISBN-13. Return "" for any other text."""
    from stdnum import ean, isbn

    if not _LIKE_ISBN.fullmatch(text):
        return ""
    number = _GAPS.sub("", text)
    number = f"0{number}" if len(number) == 9 else number
    if len(number) == 10 and isbn.is_valid(number):
        number = f"978{number[:9]}"
        return number + str(ean.calc_check_digit(number))
    # `is_valid` cleans the number three times, which is too slow for a catalogue of millions.
    is_isbn = len(number) == 13 and number.startswith(_PREFIXES) and number.isdigit()
    return number if is_isbn and ean.calc_check_digit(number[:-1]) == number[-1] else ""


def isbns_of(texts: Iterable[str]) -> tuple[str, ...]:
    """Return the distinct ISBN-13s in the cells of a file. A cell may contain several ISBNs."""
    numbers = (isbn_13(number) for text in texts if text for number in _SEPARATORS.split(text))
    return tuple(dict.fromkeys(number for number in numbers if number))


MOST_WORDS: Final = 250
"""Maximum number of words used from one text. PostgreSQL stores at most 256 positions of a word."""
LONGEST_WORD: Final = 64

_NEEDED: Final = ("opencc", "stdnum")
_RULES: Final = 3
"""Version of the rules of this module and of the index. Increase it with every change, so that words are computed again."""

_DROPPED: Final = "'\u2018\u2019\u02b9\u02ba\u02bb\u02bc\u00ad\u200b\u200c\u200d\u200e\u200f"
"""Characters removed from words: apostrophes (O'Neill is one word), signs of romanisation, and invisible characters."""
_VOICED: Final = "\u3099\u309a"
"""Combining marks that turn a kana into another kana. They are not accents."""
_LETTERS: Final = {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "æ": "ae", "œ": "oe", "þ": "th", "ı": "i"}
"""Letters that Unicode does not decompose, with their usual spelling on a plain keyboard."""

_IDEOGRAPHS: Final = "\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_SINGLE: Final = f"\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff{_IDEOGRAPHS}"
"""Ideographs and kana. Each is a word, because these scripts have no blanks between words."""
_IDEOGRAPH: Final = re.compile(rf"[{_IDEOGRAPHS}]")
_WORDS: Final = re.compile(rf"(?=[^\W_])[{_SINGLE}]|[^\W\d_{_SINGLE}]+|\d+")
_ASCII_WORDS: Final = re.compile(r"[a-z]+|[0-9]+")


@cache
def installed() -> bool:
    """Return whether the libraries of the extra `web` are installed, which the index of titles needs."""
    return all(find_spec(name) for name in _NEEDED)


@cache
def folding_version() -> str:
    """Return a version that changes whenever `words` may return another result for the same text."""
    return f"{_RULES}/{version('opencc')}/{unicodedata.unidata_version}"


def words(text: str) -> list[str]:
    """Return the words of a text, at most MOST_WORDS: runs of letters, runs of digits, and single ideographs."""
    if text.isascii():
        plain, wanted = text.lower().replace("'", ""), _ASCII_WORDS
    else:
        apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
        plain, wanted = unicodedata.normalize("NFC", apart.translate(_characters())), _WORDS
    found = wanted.findall(plain)
    return found if len(plain) <= LONGEST_WORD else [word[:LONGEST_WORD] for word in found[:MOST_WORDS]]


@lru_cache(maxsize=4_096)
def joined_words(text: str) -> str:
    """Return the words of a text, separated by blanks. Cached, because a title's index and sort keys use the same texts."""
    return " ".join(words(text))


@cache
def _characters() -> _Characters:
    return _Characters()


class _Characters(dict[int, str]):
    """Maps each character to its folded text, which is computed on first use. The text of an accent is empty.

    Each character is converted alone, because OpenCC converts by context, which a query of one character lacks.
    """

    def __init__(self) -> None:
        from opencc import OpenCC

        super().__init__({ord(c): "" for c in _DROPPED} | {ord(c): other for c, other in _LETTERS.items()})
        self._simplified: Any = OpenCC("t2s")

    def __missing__(self, code: int) -> str:
        character = found = chr(code)
        if _IDEOGRAPH.match(character):
            found = str(self._simplified.convert(character))
        elif unicodedata.category(character) == "Mn" and character not in _VOICED:  # an accent
            found = ""
        if character.isprintable():  # do not cache unassigned characters
            self[code] = found
        return found
