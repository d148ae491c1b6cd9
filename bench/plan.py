"""How often and how long the benchmark measures, and how large the generated library is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

COPIES_EACH: Final = 2


@dataclass(frozen=True, slots=True)
class Size:
    """Size of the world: `open` requests on the hold shelf, BOOKS_EACH for a patron, and `closed` ones in the history.

    `catalogue` titles are searched, and `loaded` holdings loaded beside terminals.
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
    """How often and how long. `seconds` is the length of one run, `soak_s` that of the soak, 0 for none."""

    rounds: int
    seconds: float
    size: Size
    soak_s: float
