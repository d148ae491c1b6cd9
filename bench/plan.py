"""The number and length of the benchmark's runs, and the size of the generated library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COPIES_EACH: Final = 2


@dataclass(frozen=True, slots=True)
class Size:
    """Size of the world.

    Attributes:
        open: Requests on the hold shelf, BOOKS_EACH per patron.
        closed: Ended requests in the history.
        catalogue: Titles that are searched.
        loaded: Holdings that are loaded while terminals work.
    """

    patrons: int = 10_000
    holdings: int = 100_000
    open: int = 10_000
    closed: int = 1_000_000
    catalogue: int = 1_000_000
    loaded: int = 1_000_000

    @property
    def titles(self) -> int:
        """Return the number of titles."""
        return self.holdings // COPIES_EACH


@dataclass(frozen=True, slots=True)
class Plan:
    """Number of rounds and lengths. `seconds` is the length of one run, `soak_s` the length of the soak, 0 for none."""

    rounds: int
    seconds: float
    size: Size
    soak_s: float
