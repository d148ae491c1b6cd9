"""Immutable records that are created in a quarter of the time of a frozen dataclass, for records of every message.

A frozen dataclass sets each field by a call, because its own assignment is disabled. mypy treats these records as frozen and
rejects assignments; they compare and hash by their fields, as frozen dataclasses do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

__all__ = ["fixed"]

if TYPE_CHECKING:
    from dataclasses import dataclass as fixed
else:

    def fixed(*, frozen, slots):
        """As `dataclass` with the same two arguments."""
        return dataclass(slots=slots, unsafe_hash=frozen)
