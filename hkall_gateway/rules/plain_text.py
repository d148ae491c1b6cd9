"""Checks text and numbers from all outside sources: pages, API, SIP2, NCIP, files, mail, and the command line.

Each interface checks its input once, when reading it, and rejects bad input in its own protocol. Other code relies on that.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

LONGEST: Final = 65_536
"""Maximum number of characters in one text. Most interfaces have a lower limit."""
CONTROLS: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
"""Control characters except TAB, LF and CR, for use in a character class.

U+0080 to U+009F are allowed, since catalogue records use U+0098 and U+009C around words that are ignored in sorting.
"""
LINES: Final = r"\t\n\r"
NO_CHARACTERS: Final = r"\ufffe\uffff"
"""Code points that XML 1.0 forbids, so that NCIP documents cannot contain them."""
ONE_LINE: Final = f"^[^{CONTROLS}{LINES}{NO_CHARACTERS}]*$"
"""Pattern for one line of text, for the API description. It need not exclude surrogates, which UTF-8 cannot encode."""

_SURROGATES: Final = r"\ud800-\udfff"
_BAD: Final = re.compile(f"[{CONTROLS}{_SURROGATES}{NO_CHARACTERS}]")
_BAD_IN_LINE: Final = re.compile(f"[{CONTROLS}{LINES}{_SURROGATES}{NO_CHARACTERS}]")
SHORT: Final = 9
"""Number of decimal digits that always fit into 32 bits."""
LONG: Final = 18
"""Number of decimal digits that always fit into 64 bits."""


def fault_of_text(text: str, *, lines: bool = False) -> str:
    """Return the reason for rejecting a text, or "". `lines` allows TAB, LF and CR."""
    if len(text) > LONGEST:
        return f"longer than {LONGEST} characters"
    if text.isprintable():  # fast path, ten times as fast as the regular expression
        return ""
    found = (_BAD if lines else _BAD_IN_LINE).search(text)
    return f"the character U+{ord(found[0]):04X} is not allowed" if found else ""


def without_faults(text: str) -> str:
    """Replace forbidden characters with blanks, for texts that we send."""
    return _BAD.sub(" ", text)


def printable(text: str, *, lines: bool = False) -> str:
    """Replace unusual spaces by blanks and unprintable characters by U+FFFD. `lines` keeps LF and TAB."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or (lines and c in ("\n", "\t")) else " " if c.isspace() else "\ufffd" for c in text)


def whole_number(text: str, digits: int = SHORT) -> int | None:
    """Parse a number with at most `digits` decimal digits. Return None for any other text."""
    return int(text) if len(text) <= digits and text.isascii() and text.isdigit() else None


def listed(words: Iterable[str]) -> str:
    """Join words for a sentence: `a`, `a or b`, `a, b or c`."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def nearest(word: str, known: Iterable[str]) -> str:
    """Return " (did you mean `x`?)" if a known word is similar, else ""."""
    near = difflib.get_close_matches(word, list(known))
    return f" (did you mean `{near[0]}`?)" if near else ""
