"""Text from outside and for outside: forbidden characters, printable text, numbers, lists and suggestions."""

from __future__ import annotations

import pytest

from hkall_gateway.rules.plain_text import (
    LONG,
    LONGEST,
    SHORT,
    fault_of_text,
    listed,
    nearest,
    printable,
    whole_number,
    without_faults,
)


@pytest.mark.parametrize(
    ("text", "lines", "fault"),
    [
        ("Ho Wai Man 何慧敏", False, ""),
        ("two\nlines", True, ""),
        ("two\nlines", False, "the character U+000A is not allowed"),
        ("a\x00", True, "the character U+0000 is not allowed"),
        ("\ud800", True, "the character U+D800 is not allowed"),
        ("a" * LONGEST, False, ""),
        ("a" * (LONGEST + 1), False, f"longer than {LONGEST} characters"),
    ],
)
def test_fault_names_the_first_forbidden_character_or_the_length(text: str, lines: bool, fault: str) -> None:
    assert fault_of_text(text, lines=lines) == fault


def test_text_is_one_line_by_default() -> None:
    assert fault_of_text("two\nlines") == "the character U+000A is not allowed"


def test_forbidden_characters_become_blanks() -> None:
    assert without_faults("a\x00b\ud800c\uffffd\ne") == "a b c d\ne"


def test_text_is_printable_on_one_line_unless_lines_are_kept() -> None:
    text = "a\u3000b\nc\td\x07e"
    assert printable(text) == "a b c d\ufffde"
    assert printable(text, lines=True) == "a b\nc\td\ufffde"


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("9" * SHORT, 10**SHORT - 1), ("9" * (SHORT + 1), None), ("", None), ("-1", None), ("٣", None)],
)
def test_number_has_only_ascii_digits_and_fits(text: str, number: int | None) -> None:
    assert whole_number(text) == number


def test_longer_number_is_accepted_where_64_bits_are_stored() -> None:
    assert whole_number("9" * LONG, LONG) == 10**LONG - 1


def test_words_are_joined_for_a_sentence() -> None:
    assert [listed(words) for words in (["a"], ["a", "b"], ["a", "b", "c"])] == ["a", "a or b", "a, b or c"]


def test_similar_word_is_suggested() -> None:
    assert nearest("reserve_bm", ["url", "reserve_mb"]) == " (did you mean `reserve_mb`?)"
    assert nearest("xyz", ["url", "reserve_mb"]) == ""


def test_most_similar_word_is_suggested() -> None:
    assert nearest("reserve_mb", ["reserve_b", "reserve_mbs", "reserves"]) == " (did you mean `reserve_mbs`?)"
