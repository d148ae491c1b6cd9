"""The generated pages match the tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from docs.generate.build import PAGES

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", sorted(PAGES))
def test_generated_pages_are_up_to_date(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), f"run `make docs`: docs/{name} is out of date"
