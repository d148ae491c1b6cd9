"""The table of words for a copy's state, and what they mean for a request."""

from __future__ import annotations

from collections import Counter

import pytest

from hkall_gateway.rules.availability import (
    CIRCULATION_STATUS,
    ON_SHELF,
    WORDS,
    Availability,
    Word,
    availability,
    circulation_status,
    folded,
    is_known,
)

SHELF = (ON_SHELF,)
A, OUT, UNKNOWN = Availability.AVAILABLE, Availability.OUT, Availability.UNKNOWN


def test_no_word_stands_there_twice() -> None:
    assert [word for word, times in Counter(folded(row.word) for row in WORDS).items() if times > 1] == []


@pytest.mark.parametrize("row", WORDS, ids=lambda row: f"{row.system}: {row.word}")
def test_every_word_means_the_niso_status_of_its_row_however_it_is_written(row: Word) -> None:
    said = row.word.replace("*", "03-16-17")

    assert row.status in CIRCULATION_STATUS
    assert {circulation_status(way) for way in (said, said.upper(), said.lower(), f"  {said} ")} == {row.status}


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("AVAILABLE", A),
        ("Available", A),
        ("available  on shelf", A),
        ("Item in place", A),
        ("CHECK_SHELF", A),
        ("-", A),
        ("In", A),
        ("On Loan", OUT),
        ("checked out", OUT),
        ("DUE 03-16-17", OUT),
        ("due", OUT),
        ("CHECKEDOUT", OUT),
        ("Waiting To Be Reshelved", OUT),
        ("Available For Pickup", OUT),
        ("In-Transit", OUT),
        ("Circulation Status Undefined", UNKNOWN),
        ("Eaten by a dog", UNKNOWN),
        ("duel", UNKNOWN),
        ("Due to a fire", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_a_word_says_whether_the_copy_can_be_had(word: str, means: Availability) -> None:
    assert availability(word, SHELF) is means


def test_a_site_may_count_a_word_of_its_own_as_available_and_no_other() -> None:
    listed = ("Green dot",)

    assert [availability(word, listed) for word in ("green  DOT", ON_SHELF, "Red dot")] == [A, OUT, UNKNOWN]


def test_a_listed_word_stands_for_its_synonyms() -> None:
    assert [availability(word, ("In Process",)) for word in ("in process", "Cataloging", "AVAILABLE")] == [A, A, OUT]


def test_a_word_is_known_by_the_table_or_by_the_policy() -> None:
    assert [is_known("AVAILABLE"), is_known("Green dot"), is_known("Green dot", ("green dot",))] == [True, False, True]
