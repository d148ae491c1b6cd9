"""Titles and authors in two scripts."""

from __future__ import annotations

import pytest

from hkall_gateway.rules.vocabulary import Position, Request, Side, authors_of, full_title

BOTH = "城南舊事 / Cheng nan jiu shi"


@pytest.mark.parametrize(
    ("author", "authors"),
    [
        ("", []),
        ("Herbert, Frank", ["Herbert, Frank"]),
        ("Lin, Haiyin ; Guan, Weixing", ["Lin, Haiyin", "Guan, Weixing"]),
        ("Lin, Haiyin ;  ; Guan, Weixing", ["Lin, Haiyin", "Guan, Weixing"]),
    ],
)
def test_authors_are_separated_by_a_semicolon_between_blanks(author: str, authors: list[str]) -> None:
    assert authors_of(author) == authors


def test_title_is_shown_with_the_original_script_first() -> None:
    assert full_title("Cheng nan jiu shi", "城南舊事") == BOTH
    assert full_title("Dune", "") == full_title("", "Dune") == full_title("Dune", "Dune") == "Dune"


def test_request_is_named_by_its_title_in_either_script_or_both() -> None:
    request = Request(
        id="R1", side=Side.BORROWING, position=Position.NEW, title="Cheng nan jiu shi", bib_id="b1", linked_title="城南舊事"
    )
    assert all(map(request.is_named, ("Cheng nan jiu shi", "城南舊事", BOTH)))
    assert not any(map(request.is_named, ("", "城南", "Cheng nan jiu shi / 城南舊事")))
