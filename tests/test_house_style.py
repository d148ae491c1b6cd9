"""The count of docstrings that riddle finds them, and lets plain ones be."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house_style import ALLOWED, PACKAGE, docstrings


@pytest.mark.parametrize(
    ("text", "riddles"),
    [
        ("Who waits for a unit of work: anybody who awaits it.", True),
        ("What stands at an address.", True),
        ("Writes what is due into the outbox.", True),
        ("A Deferred that resumes its coroutine directly.", False),
        ("Return the four hex digits that end a SIP2 line.", False),
        ("Whole numbers of cents; nobody-like words inside of others do not count: somewhat, wholesale.", True),
        ("Somewhat wholesale.", False),
    ],
)
def test_a_docstring_that_speaks_of_who_or_what_riddles(tmp_path: Path, text: str, riddles: bool) -> None:
    (tmp_path / "room.py").write_text(f'def one() -> None:\n    """{text}"""\n', encoding="utf-8")
    assert [(one.line, one.riddles) for one in docstrings(tmp_path)] == [(1, riddles)]


def test_the_share_in_the_package_is_within_what_is_allowed() -> None:
    found = [one.riddles for one in docstrings(PACKAGE)]
    assert sum(found) / len(found) <= ALLOWED
