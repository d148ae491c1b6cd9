"""Values that every entry point must refuse, and the counts of a walk over all fields."""

from __future__ import annotations

from random import Random
from types import MappingProxyType
from typing import Final

NUL: Final = "a\0b"
ESCAPE: Final = "a\x1b[31mb"
SURROGATE: Final = "a\ud800b"
HUGE: Final = str(2**64)
MEGABYTE: Final = "%010x" * 100_000 % tuple(Random(1).getrandbits(40) for _ in range(100_000))
"""Without repetition, since PostgreSQL compresses a text before it measures it for an index."""

BAD: Final = MappingProxyType(
    {"NUL": NUL, "escape": ESCAPE, "lone surrogate": SURROGATE, "beyond 64 bits": HUGE, "a megabyte": MEGABYTE}
)
FORBIDDEN: Final = ("NUL", "escape", "lone surrogate")
"""Values that are invalid for every field."""
