"""The invented catalogue of the demo: many distinct titles over a university's subjects, in several scripts."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest

from demo import titles as catalogue
from demo.titles import Inventor
from hkall_gateway.db.search.folding import isbn_13
from hkall_gateway.rules.vocabulary import Holding, Title


def _script(text: str) -> str:
    return unicodedata.name(text[0]).split()[0]


@pytest.fixture(scope="module")
def titles() -> tuple[Title, ...]:
    return catalogue.titles()


@pytest.fixture(scope="module")
def copies() -> tuple[Holding, ...]:
    return tuple(catalogue.copies())


def test_five_thousand_titles_are_distinct(titles: tuple[Title, ...]) -> None:
    assert len({title.title for title in titles}) == len({title.bib_id for title in titles}) == len(titles) == 5_000


def test_titles_are_in_english_chinese_and_other_languages(titles: tuple[Title, ...]) -> None:
    languages = Counter(title.language for title in titles)
    assert languages["eng"] > 3_000
    assert languages["chi"] > 1_500
    assert len(languages) > 12


def test_chinese_titles_are_traditional_simplified_and_romanised(titles: tuple[Title, ...]) -> None:
    chinese = [title for title in titles if title.language == "chi"]
    romanised = [title for title in chinese if title.title.isascii()]
    assert len(romanised) > 350
    assert all("\u4e00" <= title.linked_title[0] <= "\u9fff" and title.linked_author for title in romanised)
    assert sum("研究" in title.title or "与" in title.title for title in chinese) > 40
    assert sum("導論" in title.title or "與" in title.title for title in chinese) > 80


@pytest.mark.parametrize("language", ["jpn", "kor", "rus", "ara", "hin", "tha", "gre", "heb"])
def test_title_in_another_script_has_a_romanised_form(titles: tuple[Title, ...], language: str) -> None:
    found = [title for title in titles if title.language == language]
    assert found
    assert all(_script(title.title) == _script(title.author) == "LATIN" for title in found)
    assert "LATIN" not in {_script(text) for title in found for text in (title.linked_title, title.linked_author)}


def test_titles_cover_the_subjects_of_a_university(copies: tuple[Holding, ...]) -> None:
    classes = Counter("".join(letter for letter in copy.call_number.split(".")[0] if letter.isalpha()) for copy in copies)
    assert {"B", "BF", "DS", "G", "HB", "HF", "KNQ", "LB", "ML", "N", "NA", "PL", "QA", "QC", "QD", "QH", "R", "TA"} <= set(
        classes
    )
    assert min(classes.values()) > 100


def test_isbns_are_valid_and_distinct_and_belong_to_no_country(titles: tuple[Title, ...]) -> None:
    isbns = [isbn for title in titles for isbn in title.isbns]
    assert len(set(isbns)) == len(isbns) > 4_000
    assert all(isbn.startswith("97899999") and isbn_13(isbn) == isbn for isbn in isbns)


def test_each_title_has_copies_and_works_in_volumes_have_each_volume(
    titles: tuple[Title, ...], copies: tuple[Holding, ...]
) -> None:
    assert {copy.bib_id for copy in copies} == {title.bib_id for title in titles}
    assert len({copy.key for copy in copies}) == len(copies)
    volumes = Counter(copy.volume for copy in copies)
    assert volumes["v.1"] == volumes["v.2"] == volumes["v.3"] > 100


def test_same_seed_gives_the_same_titles(titles: tuple[Title, ...]) -> None:
    assert tuple(Inventor().titles(50)) == titles[:50]
