"""Sort keys for call numbers. Sorting the keys as text gives the order of the books on the shelf.

A key consists of lower-case letters, digits, full stops and spaces. Spaces sort first, so that a shorter call number precedes a
longer one ("nothing before something"), and digits sort before letters.

Source: the published shelving guides of the libraries named in tests/rules/test_shelving.py.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Final

MOST: Final = 160
"""Maximum length of a key. The rest of a longer call number is ignored."""

_TAKEN: Final = 400
_LETTERS: Final = r"[^\W\d_]"
_LC: Final = re.compile(r"([a-z]{1,3}) ?(\d{1,4})(?!\d)(?: ?\.(\d+))?")
_DEWEY: Final = re.compile(r"(\d{3})(?!\d)(?:\.(\d+))?")
_WORD_BEFORE: Final = re.compile(rf"({_LETTERS}+)\.? ")
_PART: Final = re.compile(rf"({_LETTERS}*)(\d+)((?:{_LETTERS}+(?![^\W_]))?)|({_LETTERS}+)")
_MARKS: Final = re.compile(r"['\u2019\u2032]|/(?=\.\d)")
"""Ignored characters: primes and slashes that mark where a Dewey number may be shortened."""

_CUTTERS: Final = {"lc": 2, "dewey": 1, "": 0}
"""Number of book numbers (Cutters) by scheme. The digits in these sort as decimals, all later numbers as integers."""


def shelving_key(call_number: str) -> str:
    """Return the sort key of a call number, or "" if it has neither letters nor digits.

    Library of Congress and Dewey numbers are recognised, also after words such as "Ref.". In other schemes, letters sort as
    text and digits as integers. Keys must be compared by code point (PostgreSQL: COLLATE "C").
    """
    text = call_number[:_TAKEN]
    if text.isascii():
        text = text.lower()
    else:  # normalise compatibility forms, case, and digits of all scripts
        text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())[:_TAKEN]
        text = "".join(str(unicodedata.decimal(c)) if c.isdecimal() else c for c in text)
    text = " ".join(_MARKS.sub("", text).split())
    before, scheme, head, rest = _split_class(text)
    return " ".join([*before, *head, *_part_keys(rest, _CUTTERS[scheme])])[:MOST].rstrip()


def _split_class(text: str) -> tuple[list[str], str, list[str], str]:
    """Split a call number into the words before the class, the scheme, the parts of the class, and the rest."""
    place, before = 0, list[str]()
    while True:
        if found := _LC.match(text, place):
            letters, whole, decimals = found.groups()
            return before, "lc", [letters, _class_key(whole, decimals)], text[found.end() :]
        if found := _DEWEY.match(text, place):
            return before, "dewey", [_class_key(*found.groups())], text[found.end() :]
        word = _WORD_BEFORE.match(text, place)
        if word is None:
            return [], "", [], text
        before.append(word[1])
        place = word.end()


def _class_key(whole: str, decimals: str | None) -> str:
    return _number_key(whole) + (f".{decimals}" if decimals else "")


def _part_keys(rest: str, cutters: int) -> Iterator[str]:
    """Yield sort keys for the parts after the class: book numbers as decimals; dates, volumes and copies as integers."""
    dated = False
    for found in _PART.finditer(rest):
        letters, digits, suffix, word = found.groups()
        if word:
            yield word
            continue
        if letters and cutters and (not dated or rest[found.start() - 1] == "."):
            cutters -= 1
            yield letters + digits + suffix
            continue
        if letters:
            yield letters
        yield _number_key(digits) + suffix
        dated = True


def _number_key(digits: str) -> str:
    """Return an integer as text that sorts by value: the number of digits, then the digits."""
    value = digits.lstrip("0")[:99]
    count = len(value)
    return (str(count) if count < 9 else f"9{count:02d}") + value
