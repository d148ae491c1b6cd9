"""A category for tests, whose limits stay when the published table (tests/published/table.py) changes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from hkall_gateway.rules.settings import Category, Policy

CATEGORY: Final = Category(key="test_readers", label="Readers of the tests", quota=15, loan_days=15)


def with_readers(policy: Policy) -> Policy:
    """Return the policy with the test category added, unless it is already there."""
    known = {category.key for category in policy.categories}
    return policy if CATEGORY.key in known else replace(policy, categories=(*policy.categories, CATEGORY))


POLICY: Final = with_readers(Policy())
"""The published rules plus the test category."""
