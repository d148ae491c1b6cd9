"""Maps status words of library systems to NISO's CirculationStatus, for holdings, look-ups and the local system.

The CirculationStatus tells whether an item is available. Case, blanks, hyphens and underscores in words are ignored.
Source: NISO Z39.83, circulationstatus; HKALL rules R6, R7; the systems' own lists.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

VendorTable = Mapping[str, Mapping[str, Sequence[str]]]
"""Maps each system to its words, by their meaning."""

# fmt: off
CIRCULATION_STATUS: Final = (
    "Available For Pickup", "Available On Shelf", "Circulation Status Undefined", "Claimed Returned Or Never Borrowed",
    "In Process", "In Transit Between Library Locations", "Lost", "Missing", "Not Available", "On Loan", "On Order",
    "Pending Transfer", "Recalled", "Waiting To Be Reshelved",
)
"""The values of NISO's CirculationStatus. Source: NCIP v1 schemes, circulationstatus."""

ON_SHELF:  Final = "Available On Shelf"
UNDEFINED: Final = "Circulation Status Undefined"
# fmt: on


@lru_cache(maxsize=4096)
def folded(word: str) -> str:
    """Normalise a word for comparison: fold the case, and replace blanks, hyphens and underscores with single blanks."""
    return " ".join(re.split(r"[\s_-]+", word.strip())).strip().casefold() or word.strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorWord:
    """One word that a library system uses, and its meaning.

    A word that ends with " *" matches texts with this prefix, followed by a digit: "DUE *" matches "DUE 03-16-17".
    """

    system: str
    word: str
    meaning: str


def vendor_words(table: VendorTable) -> tuple[VendorWord, ...]:
    """Expand a table to one VendorWord per word."""
    rows = ((system, meaning, words) for system, of_system in table.items() for meaning, words in of_system.items())
    return tuple(VendorWord(system=system, word=word, meaning=meaning) for system, meaning, words in rows for word in words)


_TABLE: Final[VendorTable] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
WORDS: Final = (
    *(VendorWord(system="niso", word=status, meaning=status) for status in CIRCULATION_STATUS),
    *vendor_words(_TABLE),
)
_BEGINNINGS: Final = {folded(row.word.removesuffix("*")): row.meaning for row in WORDS if row.word.endswith(" *")}
_MEANT: Final[Mapping[str, str]] = MappingProxyType(
    {folded(row.word): row.meaning for row in WORDS if not row.word.endswith(" *")}
)


class Availability(Enum):
    """Whether an item is available. UNKNOWN means that the status word is not in the table."""

    AVAILABLE = "available"
    OUT = "not available"
    UNKNOWN = "not known"


def circulation_status(word: str) -> str:
    """Return the CirculationStatus for a system's word, or "" if the word is not in the table."""
    spelling = folded(word)
    first, _, rest = spelling.partition(" ")
    return _MEANT.get(spelling) or (_BEGINNINGS.get(first) if not rest or rest[0].isdigit() else "") or ""


@lru_cache(maxsize=1024)
def availability(word: str, listed: tuple[str, ...]) -> Availability:
    """Decide from its status word whether an item is available.

    `listed` contains the words that mean available in the policy. Words with the same CirculationStatus also count.
    Source: HKALL rules R6, R7.
    """
    meant = _meaning_of(word)
    if meant in {_meaning_of(one) for one in listed}:
        return Availability.AVAILABLE
    known = meant in CIRCULATION_STATUS and meant != UNDEFINED
    return Availability.OUT if known else Availability.UNKNOWN


def is_known(word: str, listed: Collection[str] = ()) -> bool:
    """Return whether a word is in the table or in `listed`, so that callers can warn about unknown words."""
    return bool(circulation_status(word)) or folded(word) in {folded(one) for one in listed}


def _meaning_of(word: str) -> str:
    return circulation_status(word) or folded(word)
