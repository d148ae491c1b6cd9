"""The house's style is counted: riddling docstrings, class names with two meanings, identifiers with a retired word."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house_style import FOLDERS, Count, Style, counts, read


def written(folder: Path, **modules: str) -> Style:
    """The style of a package with these modules."""
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return read([folder])


@pytest.fixture(scope="module")
def package() -> Style:
    return read(FOLDERS)


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
    style = written(tmp_path, room=f'def one() -> None:\n    """{text}"""\n')
    assert [(one.line, one.riddles) for one in style.docstrings] == [(1, riddles)]


def test_a_public_class_name_in_two_modules_has_two_meanings(tmp_path: Path) -> None:
    style = written(
        tmp_path,
        mail="class Row: ...\nclass Letter: ...\nclass _Seen: ...\n",
        store="class Row: ...\nclass Table:\n    class Letter: ...\nclass _Seen: ...\n",
    )
    assert list(style.classes) == ["Row", "Letter", "Table"]
    assert {name: [path.stem for path in paths] for name, paths in style.ambiguous.items()} == {
        "Letter": ["mail", "store"],
        "Row": ["mail", "store"],
    }


def test_a_class_that_one_module_defines_twice_has_one_meaning(tmp_path: Path) -> None:
    style = written(tmp_path, room="if 1:\n    class Row: ...\nelse:\n    class Row: ...\n")
    assert style.ambiguous == {}


@pytest.mark.parametrize(
    ("text", "retired"),
    [
        ("def one(house): ...", ["house"]),
        ("class NewHouse: ...", ["NewHouse"]),
        ("HOUSE_RULES = 1", ["HOUSE_RULES"]),
        ("self.errand = 1", ["errand"]),
        ("async def _by_deed(): ...", ["_by_deed"]),
        ("for whose in (): ...", ["whose"]),
        ("pull_slips = 1", []),
        ("slip = 1", ["slip"]),
        ("warehouse = household = 1", []),
        ("print(house, self.house, 'house')", []),
    ],
)
def test_an_identifier_with_a_retired_word_is_found_where_it_is_defined(tmp_path: Path, text: str, retired: list[str]) -> None:
    style = written(tmp_path, room=text)
    assert [one.text for one in style.identifiers if one.retired] == retired


def test_a_module_may_not_have_a_retired_name_either(tmp_path: Path) -> None:
    style = written(tmp_path, tandem="", patrons="")
    assert [one.text for one in style.identifiers if one.retired] == ["tandem"]


@pytest.mark.parametrize(("found", "allowed"), [(0, True), (5, True), (6, False)])
def test_the_limit_itself_is_allowed(found: int, allowed: bool) -> None:
    assert Count("names", found, 100, 0.05).allowed is allowed


def test_the_limits_hold_in_the_package(package: Style) -> None:
    assert [str(count) for count in counts(package) if not count.allowed] == []


def test_the_benchmark_and_the_lab_are_counted_too(package: Style) -> None:
    paths = {path.as_posix() for path in package.trees}
    assert any("/lab/" in path for path in paths)
    assert any("/bench/" in path for path in paths)
