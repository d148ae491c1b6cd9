"""Card replacements in a patron file, and rows refused because a card belongs to another patron."""

from __future__ import annotations

from typing import Any

import pytest

from hkall_gateway.rules.replaced_cards import KnownCards, PatronRow, replacements
from hkall_gateway.rules.vocabulary import Borrower, Sensitive


def person(card: str, name: str = "", email: str = "", name_zh: str = "") -> Borrower:
    return Borrower(
        barcode=card, name=Sensitive(name), category="undergraduates", name_zh=Sensitive(name_zh), email=Sensitive(email)
    )


def row(line: int, card: str, *former: str, **facts: str) -> PatronRow:
    return PatronRow(f"p.csv:{line}", person(card, **facts), former)


def known(*people: Borrower, **replaced: str) -> KnownCards:
    return KnownCards({one.barcode: one for one in people}, replaced)


NOTHING = known()
CHAN, LEE = {"name": "Chan Tai Man", "email": "chan@hku.test"}, {"name": "Lee Wai", "email": "lee@hku.test"}
AGREEING: list[Any] = [
    ({"name": "CHAN  tai man"}, "the same name in other letters"),
    ({"name": "Tai-man, Chan"}, "the same name in another order"),
    ({"name": "Chan-Lee Tai Man", "email": "chan@hku.test"}, "another name, the same address"),
]
UNNAMED = "former_barcode: the row has no name and no e-mail to compare with those of that card's owner"


def test_former_card_is_replaced_by_the_current_card() -> None:
    found = replacements([row(2, "B", "A"), row(3, "X")], NOTHING)
    assert (found.present, found.refused) == ({"A": "B"}, {})


def test_several_former_cards_are_all_replaced() -> None:
    assert replacements([row(2, "C", "A", "B")], NOTHING).present == {"A": "C", "B": "C"}


def test_current_card_is_not_a_former_card() -> None:
    found = replacements([row(2, "A", "A")], NOTHING)
    assert (found.present, found.refused) == ({}, {})


@pytest.mark.parametrize(("facts", "why"), AGREEING, ids=[why for _, why in AGREEING])
def test_matching_identifying_data_means_the_same_patron(facts: dict[str, str], why: str) -> None:
    found = replacements([row(2, "B", "A", **facts)], known(person("A", **CHAN)))
    assert (found.present, found.refused) == ({"A": "B"}, {}), why


def test_former_card_of_another_person_is_refused_with_its_line_number() -> None:
    found = replacements([row(2, "B", "A", **LEE), row(3, "D", "C")], known(person("A", **CHAN)))
    assert found.present == {"C": "D"}
    assert found.refused == {"p.csv:2": "former_barcode: 'A' is the card of another person: neither name nor e-mail agree"}


@pytest.mark.parametrize("facts", [{}, {"name_zh": "陳大文"}], ids=["says nothing", "says nothing that was known before"])
def test_row_without_identifying_data_cannot_take_over_a_named_patrons_card(facts: dict[str, str]) -> None:
    found = replacements([row(2, "B", "A", **facts)], known(person("A", **CHAN)))
    assert (found.present, found.refused) == ({}, {"p.csv:2": UNNAMED})


@pytest.mark.parametrize("facts", [{}, LEE], ids=["nameless", "named"])
def test_row_is_accepted_when_the_owner_of_the_card_is_unknown(facts: dict[str, str]) -> None:
    found = replacements([row(2, "B", "A", **facts)], known(person("A")))
    assert (found.present, found.refused) == ({"A": "B"}, {})


def test_former_card_that_is_current_in_another_row_is_refused() -> None:
    found = replacements([row(2, "B", "A"), row(3, "A")], NOTHING)
    assert found.present == {}
    assert found.refused == {"p.csv:2": "former_barcode: 'A' is the present card of p.csv:3"}


def test_patrons_swapping_cards_are_both_refused() -> None:
    found = replacements([row(2, "B", "A"), row(3, "A", "B")], NOTHING)
    assert (found.present, list(found.refused)) == ({}, ["p.csv:2", "p.csv:3"])


def test_card_claimed_by_two_rows_is_refused() -> None:
    found = replacements([row(2, "B", "A"), row(3, "C", "A")], NOTHING)
    assert (found.present, list(found.refused)) == ({}, ["p.csv:2", "p.csv:3"])
    assert found.refused["p.csv:2"].endswith("is named by p.csv:3 too")


def test_row_with_one_invalid_former_card_replaces_none() -> None:
    found = replacements([row(2, "C", "A", "B"), row(3, "B")], NOTHING)
    assert (found.present, list(found.refused)) == ({}, ["p.csv:2"])


def test_chain_of_replacements_over_two_files_ends_at_the_last_card() -> None:
    assert replacements([row(2, "C", "B")], known(A="B")).present == {"B": "C"}
    assert replacements([row(2, "C", "A", **CHAN)], known(person("B", **CHAN), A="B")).present == {"A": "C", "B": "C"}
    assert replacements([row(2, "C", "A")], known(A="B")).present == {"A": "C", "B": "C"}


@pytest.mark.parametrize("facts", [LEE, {}], ids=["another name", "nothing to compare"])
def test_former_card_already_replaced_by_another_persons_card_is_refused(facts: dict[str, str]) -> None:
    found = replacements([row(2, "C", "A", **facts)], known(person("B", **CHAN), A="B"))
    assert (found.present, list(found.refused)) == ({}, ["p.csv:2"])


def test_former_card_already_replaced_by_another_rows_card_is_refused() -> None:
    found = replacements([row(2, "C", "A"), row(3, "B")], known(A="B"))
    assert found.refused == {"p.csv:2": "former_barcode: 'A' was replaced by the present card of p.csv:3"}


def test_reissued_card_replaces_the_intermediate_card() -> None:
    assert replacements([row(2, "A", "B")], known(A="B")).present == {"B": "A"}


def test_repeated_file_gives_the_same_result() -> None:
    assert replacements([row(2, "B", "A")], known(A="B")).present == {"A": "B"}
