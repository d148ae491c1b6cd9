"""Checks text and numbers from outside, for every entry: pages, API, SIP2, NCIP, files, mail, and the command line.

An entry checks what it reads once, where it reads it, and refuses in its own protocol. Code behind it relies on that.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

LONGEST: Final = 65_536
"""Characters of one text. Most entries have a lower limit of their own."""
CONTROLS: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
"""Control characters without TAB, LF and CR, as part of a regular expression.

U+0080 to U+009F may enter: catalogue records mark words that do not count in sorting by U+0098 and U+009C.
"""
LINES: Final = r"\t\n\r"
NO_CHARACTERS: Final = r"\ufffe\uffff"
"""Code points that XML 1.0 excludes, so that no NCIP document could carry them."""
ONE_LINE: Final = f"^[^{CONTROLS}{LINES}{NO_CHARACTERS}]*$"
"""The pattern of one line of text, for the description of the API; UTF-8 in its documents leaves no lone surrogates."""

_SURROGATES: Final = r"\ud800-\udfff"
_BAD: Final = re.compile(f"[{CONTROLS}{_SURROGATES}{NO_CHARACTERS}]")
_BAD_IN_LINE: Final = re.compile(f"[{CONTROLS}{LINES}{_SURROGATES}{NO_CHARACTERS}]")
SHORT: Final = 9
"""Digits of a number that fits into 32 bits, whatever they are."""
LONG: Final = 18
"""Digits of a number that fits into 64 bits, whatever they are."""


def fault_of_text(text: str, *, lines: bool = False) -> str:
    """Return why a text may not enter, "" if it may.

    Args:
        text: The decoded text.
        lines: Whether TAB, LF and CR are allowed.
    """
    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    if text.isprintable():  # the usual case, at a tenth of the cost
        return ""
    found = (_BAD if lines else _BAD_IN_LINE).search(text)
    return f"the character U+{ord(found[0]):04X} is not allowed" if found else ""


def without_faults(text: str) -> str:
    """Return a text with a blank for every character that may not enter, so that it may leave."""
    return _BAD.sub(" ", text)


def printable(text: str, *, lines: bool = False) -> str:
    """Return a text that moves no cursor: blanks for spaces of any kind, U+FFFD for characters that cannot be printed.

    Args:
        text: Any text.
        lines: Whether LF and TAB stay.
    """
    if text.isprintable():
        return text
    kept = "\n\t" if lines else ""
    return "".join(c if c.isprintable() or c in kept else " " if c.isspace() else "\ufffd" for c in text)


def whole_number(text: str, digits: int = SHORT) -> int | None:
    """Return the number of at most so many decimal digits in a text; None for any other text."""
    return int(text) if len(text) <= digits and text.isascii() and text.isdigit() else None


def listed(words: Iterable[str]) -> str:
    """Return words as a sentence lists them: `a`, `a or b`, `a, b or c`."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean `x`?)" if one of the known words is near, else ""."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""
