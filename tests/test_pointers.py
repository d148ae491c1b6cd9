"""The places that CONTRIBUTING.md and ARCHITECTURE.md name: each file, each name in a file, and each `make` target exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

import hkall_gateway

pytestmark = pytest.mark.walks_a_table

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = Path(hkall_gateway.__file__).parent
PAGES: Final = ("CONTRIBUTING.md", "ARCHITECTURE.md")
OUTSIDE: Final = {"policy.toml", "var/screenshots", "../shared/ncip", "/dev/shm"}  # noqa: S108  # what the page names, not a use
"""What the pages name and a checkout does not have."""
SUFFIXES: Final = ("md", "py", "toml", "txt")

_FILE: Final = re.compile(rf"[\w./-]+\.(?:{'|'.join(SUFFIXES)})|\.?[\w-]+(?:/[\w.-]+)*/|[\w.-]+(?:/[\w.-]+)+")
_NAME_IN_FILE: Final = re.compile(r"`([A-Za-z_]\w*)` (?:\(|in |of )`([\w/]+\.(?:py|toml))`")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def named_files(text: str) -> set[str]:
    """Return what a text quotes that has the form of a file or folder."""
    return {word for word in re.findall(r"`([^`\n]+)`", text) if _FILE.fullmatch(word)}


def resolve(word: str) -> Path | None:
    """Find a file or folder by its path in the package or the checkout, or by the end of its path, as in a walk."""
    for folder in (PACKAGE, ROOT):
        if (folder / word).exists():
            return folder / word
    inside = (path for folder in (PACKAGE, ROOT / "tests") for path in folder.rglob(Path(word).name))
    return next((path for path in inside if path.as_posix().endswith(f"/{word.rstrip('/')}")), None)


@cache
def names_in(path: Path) -> frozenset[str]:
    """Return the names that a module defines, also inside its classes, or the names of the tables and keys of a TOML file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".toml":
        return frozenset(re.findall(r"^\[*([\w.-]+)", text, re.MULTILINE))
    names = set[str]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
    return frozenset(names)


def lost_files(text: str) -> set[str]:
    return {word for word in named_files(text) - OUTSIDE if resolve(word) is None}


def lost_names(text: str) -> set[str]:
    lost = set[str]()
    for name, word in _NAME_IN_FILE.findall(text):
        path = resolve(word)
        if path is None or name not in names_in(path):
            lost.add(f"{name} in {word}")
    return lost


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page: str) -> None:
    assert len(named_files(text_of(page))) > 30
    assert lost_files(text_of(page)) == set()


@pytest.mark.parametrize("page", PAGES)
def test_names_are_in_the_files_that_the_page_says(page: str) -> None:
    assert lost_names(text_of(page)) == set()


def test_many_names_are_looked_up() -> None:
    assert len(_NAME_IN_FILE.findall(text_of("CONTRIBUTING.md"))) > 15


def test_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z][\w-]*):", text_of("Makefile"), re.MULTILINE))
    named = {word for page in PAGES for word in re.findall(r"`make ([a-z][\w-]*)`", text_of(page))}
    assert "check" in named
    assert named <= targets


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("its field in `Partner` (`rules/vocabulary.py`)", "Partner in rules/vocabulary.py"),
        (
            "its row of `ROUNDS` in `circulation/jobs/rounds.py`, its row of `LISTS` of `rules/dates.py`",
            "LISTS in rules/dates.py",
        ),
    ],
)
def test_name_is_looked_up_in_the_file_that_the_text_says(text: str, lost: str) -> None:
    assert lost_names(text) == ({lost} if lost else set())


def test_file_that_has_moved_is_found() -> None:
    assert lost_files("`rules/nowhere.py`, `nowhere/`, `db/tables.py`, `tables.py`") == {"rules/nowhere.py", "nowhere/"}
