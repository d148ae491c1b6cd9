"""Fixtures of every chapter of the published page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.published.page import Page
from tests.published.premises import Premises


@pytest.fixture(scope="session")
def premises(tmp_path_factory: pytest.TempPathFactory) -> Premises:
    """The library in its initial state."""
    return Premises(tmp_path_factory.mktemp("premises"))


@pytest.fixture
def page(reactor: Any, premises: Premises, tmp_path: Path) -> Iterator[Page]:
    """A gateway for each statement, on Wednesday, 1 March 2017, 10:00 in Hong Kong."""
    made = Page(reactor, premises, tmp_path)
    yield made
    made.close()
