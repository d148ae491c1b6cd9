"""Empties the caches of the rules before each test, so that no result comes from an earlier test."""

from __future__ import annotations

import pytest

from hkall_gateway.rules import dates
from hkall_gateway.rules.messages import letters
from hkall_gateway.rules.vendor_words import availability, study_modes

MODULES = (dates, letters, availability, study_modes)
CACHED = [value for module in MODULES for value in vars(module).values() if hasattr(value, "cache_clear")]


@pytest.fixture(autouse=True)
def empty_caches() -> None:
    for function in CACHED:
        function.cache_clear()
