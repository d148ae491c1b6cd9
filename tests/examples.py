"""Number of examples per property test: a fifth of the thorough number in `make test`, all of them in `make test-long`."""

from __future__ import annotations

from typing import Final

from hypothesis import settings

THOROUGH: Final = 100
"""Hypothesis's own default, which `make test-long` uses for each property."""
FAST: Final = 20
FEWEST: Final = 3


def register_profiles() -> None:
    """Load the profile `fast`; `--hypothesis-profile=thorough` replaces it."""
    for name, most in (("fast", FAST), ("thorough", THOROUGH)):
        settings.register_profile(name, deadline=None, max_examples=most)  # examples may be slow on a busy machine
    settings.load_profile("fast")


def example_count(thorough: int) -> int:
    """Return the number of examples in the current profile for a property that has `thorough` examples in `make test-long`."""
    return max(FEWEST, thorough * settings().max_examples // THOROUGH)
