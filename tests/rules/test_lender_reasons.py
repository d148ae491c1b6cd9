"""Decline reasons of lenders: the page's three reasons, or otherwise the lender's own text."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hkall_gateway.rules.lender_reasons import (
    CHECKED_OUT_LOCALLY,
    DROPPED,
    LENDER_REASONS,
    LENT_TO_ANOTHER,
    MOST_LETTERS,
    NEVER_SENT,
    NOT_REACHED,
    OTHER,
    OURS,
    PATRON_OR_REQUEST,
    PHRASES,
    PUBLISHED,
    SILENCE,
    WORDS,
    Decline,
    LenderReason,
    decline_reason,
    read_reason,
    reason_cause,
    reason_label,
    reason_sentence,
    status_after_decline,
)
from hkall_gateway.rules.vendor_words.availability import CIRCULATION_STATUS, ON_SHELF, VendorWord, folded
from hkall_gateway.rules.vendor_words.languages import CHINESE, ENGLISH
from tests.examples import THOROUGH

NOT_ON_SHELF, NOT_SUITABLE = "not_on_shelf", "not_suitable"


def test_every_named_reason_has_its_row() -> None:
    found = {NEVER_SENT, NOT_REACHED, LENT_TO_ANOTHER, DROPPED, SILENCE, OTHER, "none on the shelf"}
    assert LENDER_REASONS.keys() == {NOT_ON_SHELF, CHECKED_OUT_LOCALLY, NOT_SUITABLE, *found}
    assert found == OURS


def test_decline_words_are_unique() -> None:
    assert [word for word, times in Counter(folded(row.word) for row in WORDS).items() if times > 1] == []


def test_every_reason_maps_to_a_published_reason_or_none() -> None:
    assert {row.meaning for row in WORDS} == {*PUBLISHED, PATRON_OR_REQUEST, ""}
    assert {reason for _, reason in PHRASES} == set(PUBLISHED)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("Charged", CHECKED_OUT_LOCALLY),
        ("DUE 12-12-26", CHECKED_OUT_LOCALLY),
        ("Lost and paid", NOT_ON_SHELF),
        ("Withdrawn", NOT_SUITABLE),
    ],
)
def test_item_status_word_of_a_system_maps_to_a_decline_reason(status: str, reason: str) -> None:
    assert {decline_reason(status), decline_reason("Item Not Available", status)} == {reason}


@pytest.mark.parametrize("row", [row for row in WORDS if row.meaning in PUBLISHED], ids=lambda row: f"{row.system}: {row.word}")
def test_system_specific_word_maps_to_its_reason_as_type_or_detail(row: VendorWord) -> None:
    said = {decline_reason(row.word), decline_reason(row.word.upper()), decline_reason("Problem", row.word)}

    assert said == {row.meaning}


@pytest.mark.parametrize("phrase", [phrase for phrase, _ in PHRASES])
def test_text_containing_a_known_phrase_has_its_reason(phrase: str) -> None:
    assert decline_reason("", f"Sorry: {phrase.capitalize()}!") in PUBLISHED
    assert decline_reason("", f"x{phrase}x") not in PUBLISHED


@pytest.mark.parametrize(
    ("kind", "detail", "reason"),
    [
        ("On Loan", "", CHECKED_OUT_LOCALLY),
        ("Missing", "", NOT_ON_SHELF),
        ("", "The item has been checked out.", CHECKED_OUT_LOCALLY),
        ("too fragile", "", NOT_SUITABLE),
        ("Item Does Not Circulate", "LU says no", NOT_SUITABLE),
        ("User Blocked", "", OTHER),
        ("Element Rule Violated", "Please ask us again in May", "Please ask us again in May"),
        ("Closed for the summer", "", "Closed for the summer"),
        ("Odd", " two\nlines\x00 and\x1b more ", "two lines and more"),
        (SILENCE, "", SILENCE),
        ("", "", OTHER),
    ],
)
def test_reason_text_is_the_published_one_or_the_lenders_own(kind: str, detail: str, reason: str) -> None:
    assert decline_reason(kind, detail) == reason


OF_THE_PATRON_OR_THE_REQUEST = (
    *(("Unknown User", detail) for detail in ("User not found", "not found", "missing", "On Loan")),
    *(("", detail) for detail in ("User not found", "Patron 3500 cannot be found", "Not found: patron 3500", "UserId missing")),
    *(("", detail) for detail in ("patron has too many checked out", "Too many items on loan", "The user has it on loan")),
    *(("", detail) for detail in ("Patron limit: 5 books checked out", "Maximum number of items on loan reached")),
    *(("", detail) for detail in ("Request not found", "Pickup location not found", "Missing element", "Data missing")),
    *(("", detail) for detail in ("Due to a holiday", "itemAlreadyOnHold", "not-found-as-cited", "The item is not on loan")),
    ("Element Rule Violated", "Borrower record not found"),
    ("UserNotFound", "The user was not found"),
)


@pytest.mark.parametrize(("kind", "detail"), OF_THE_PATRON_OR_THE_REQUEST)
def test_reason_about_patron_or_request_is_not_a_published_reason(kind: str, detail: str) -> None:
    assert decline_reason(kind, detail) == detail


@pytest.mark.parametrize("row", [row for row in WORDS if row.meaning == PATRON_OR_REQUEST], ids=lambda row: row.word)
def test_technical_reason_about_patron_or_request_is_hidden(row: VendorWord) -> None:
    assert decline_reason(row.word) == OTHER


OF_THE_COPY = (
    ("Request denied: the item was not found", NOT_ON_SHELF),
    ("Not found on the shelf of the Main Library", NOT_ON_SHELF),
    ("Requested item not found", NOT_ON_SHELF),
    ("It cannot be found", NOT_ON_SHELF),
    ("Not found in the library", NOT_ON_SHELF),
    ("Item not found for user 3500", NOT_ON_SHELF),
    ("A local user has it on loan", CHECKED_OUT_LOCALLY),
    ("Checked out to another patron", CHECKED_OUT_LOCALLY),
    ("It is checked out to a patron", CHECKED_OUT_LOCALLY),
    ("Request cancelled, item on loan", CHECKED_OUT_LOCALLY),
    ("DUE 16-03-17", CHECKED_OUT_LOCALLY),
    ("The item is on loan, the patron has another one on loan", CHECKED_OUT_LOCALLY),
)


@pytest.mark.parametrize(("said", "reason"), OF_THE_COPY)
def test_reason_about_the_item_is_a_published_reason(said: str, reason: str) -> None:
    assert decline_reason("", said) == reason


@settings(max_examples=THOROUGH)
@given(st.text(), st.text())
def test_lender_text_is_shortened_to_one_line(kind: str, detail: str) -> None:
    said = decline_reason(kind, detail)

    assert said
    assert len(said) <= MOST_LETTERS
    assert said == " ".join(said.split())
    assert said.isprintable()


@pytest.mark.parametrize("reason", LENDER_REASONS.values(), ids=LENDER_REASONS)
def test_every_lender_reason_has_text_in_both_languages(reason: LenderReason) -> None:
    assert all(reason.label)
    assert all(reason.cause) is (reason.key not in {OTHER, DROPPED})
    assert all(reason.sentence) is (reason.key in OURS - {OTHER, DROPPED})
    assert all("%(lender)s" in text for text in reason.sentence if text)


def test_each_published_reason_sets_its_own_item_status() -> None:
    assert PUBLISHED == (NOT_ON_SHELF, CHECKED_OUT_LOCALLY, NOT_SUITABLE)
    declines = [row.decline for row in LENDER_REASONS.values() if row.decline]
    declined = {one.status for one in declines}
    assert len(declined) == 3
    assert {one.status_after for one in declines} | declined <= set(CIRCULATION_STATUS)


def test_technical_word_is_not_searched_for_published_phrases() -> None:
    assert decline_reason("Needed Data Missing") == OTHER
    assert decline_reason("Needed Data Missing", "UserId") == "UserId"
    assert decline_reason("Element Rule Violated") == OTHER


def test_reason_is_read_from_its_row() -> None:
    label, cause, sentence = ["Lost", "遺失"], ["it is lost", "此書遺失"], ["%(lender)s lost it.", "%(lender)s 遺失此書。"]
    found = read_reason("lost", label, cause=cause, sentence=sentence)
    assert (found.key, [*found.label], [*found.cause], [*found.sentence]) == ("lost", label, cause, sentence)
    assert not found.is_published
    published = read_reason("lost", label, {"status": "Lost", "status_after": "Missing"})
    assert published == LenderReason(key="lost", label=("Lost", "遺失"), decline=Decline(status="Lost", status_after="Missing"))
    with pytest.raises(ValueError, match="one text in each of two languages: 'Lost'"):
        read_reason("lost", ["Lost"])


def test_reason_in_the_table_has_texts_in_the_language_of_the_reader() -> None:
    assert reason_label(NOT_ON_SHELF, ENGLISH) == "Not found on the shelf"
    assert reason_label(NOT_ON_SHELF, CHINESE) == "書架上找不到"
    assert reason_cause(SILENCE, ENGLISH) == "that library did not answer"
    assert reason_cause(SILENCE, CHINESE) == "該圖書館沒有回覆"
    assert reason_sentence(SILENCE, "LU", ENGLISH) == "LU did not answer our request."
    assert reason_sentence(SILENCE, "", CHINESE) == "最後一所圖書館沒有回覆我們的申請。"


def test_lenders_own_words_are_the_text_of_their_reason() -> None:
    said = "..Xmas closure. X. ."
    assert reason_label(said, CHINESE) == said
    assert reason_cause(said, CHINESE) == "..Xmas closure. X"
    assert reason_cause("closed\t", ENGLISH) == "closed\t"
    assert reason_sentence(said, "LU", ENGLISH) == ""


def test_r37_status_after_a_decline_follows_its_reason() -> None:
    after = {reason: status_after_decline(reason) for reason in (*PUBLISHED, SILENCE, "closed")}
    assert after == {
        NOT_ON_SHELF: "Missing",
        CHECKED_OUT_LOCALLY: "On Loan",
        NOT_SUITABLE: ON_SHELF,
        SILENCE: ON_SHELF,
        "closed": ON_SHELF,
    }
