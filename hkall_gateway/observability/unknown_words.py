"""Item statuses that the table of availability does not have: each is logged once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

import structlog

from hkall_gateway.rules.vendor_words.availability import is_known

LOG = structlog.get_logger()

MOST_KEPT: Final = 1_000
"""Limit of remembered words, so that a system with endless new words does not flood the log."""


class UnknownWords:
    """Remembers the words already logged, by the system that used them."""

    def __init__(self) -> None:
        self._warned: set[tuple[str, str]] = set()

    def check(self, source: str, words: Iterable[str], listed: Collection[str]) -> None:
        """Warn of the unknown words among these, once for each word, with the number of its items in this answer.

        `source` is the partner or the local system; `listed` are the words that the policy has beside the table's.
        """
        for word, copies in Counter(word for word in words if word and not is_known(word, listed)).items():
            if (source, word) not in self._warned and len(self._warned) < MOST_KEPT:
                self._warned.add((source, word))
                LOG.warning("availability.word_unknown", source=source, word=word[:80], copies=copies)
