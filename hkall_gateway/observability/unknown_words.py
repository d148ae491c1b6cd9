"""Logs each item status that is not in the availability table, once for each system that uses the status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

import structlog

from hkall_gateway.rules.vendor_words.availability import is_known

LOG = structlog.get_logger()

MOST_KEPT: Final = 1_000
"""Maximum number of unknown statuses to log, so that a system that keeps inventing statuses does not flood the log."""


class UnknownWords:
    """Logs each unknown item status once for each system."""

    def __init__(self) -> None:
        self._warned: set[tuple[str, str]] = set()

    def check(self, source: str, words: Iterable[str], listed: Collection[str]) -> None:
        """Log each new unknown status with the number of items that have the status.

        `words` holds the item statuses in an answer from `source`, and `listed` the policy's additional statuses.
        """
        for word, copies in Counter(word for word in words if word and not is_known(word, listed)).items():
            if (source, word) not in self._warned and len(self._warned) < MOST_KEPT:
                self._warned.add((source, word))
                LOG.warning("availability.word_unknown", source=source, word=word[:80], copies=copies)
