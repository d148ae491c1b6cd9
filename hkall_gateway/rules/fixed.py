"""Records that nobody changes, made in a quarter of the time of a frozen dataclass.

A frozen one sets each field by a call, since its own way of setting is closed. mypy knows these as frozen and refuses whoever
would change one; they are equal and hashed by their fields, as frozen ones are. For what is made with every message.
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
