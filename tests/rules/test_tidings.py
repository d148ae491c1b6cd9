"""What is told to a partner or a patron: every fact of the request that the message needs, and one occasion a letter."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from hkall_gateway.rules.lifecycle import Send
from hkall_gateway.rules.tidings import Letter, Telling, letter, occasion, telling
from hkall_gateway.rules.vocabulary import Candidate, ItemKey, Position, Request, Side

NOW = datetime(2017, 3, 10, 2, tzinfo=UTC)


def march(number: int) -> date:
    return date(2017, 3, number)


ABOUT = Request(
    "R1",
    Side.BORROWING,
    Position.ON_LOAN,
    "Dune",
    "b1",
    patron="UG1",
    partner="CUHK",
    wire_agency="HKU",
    wire_id="w1",
    attempt=2,
    item_agency="CUHK",
    item_barcode="C1",
    volume="v.2",
    pickup_location="MAIN",
    received_on=march(2),
    pickup_last=march(7),
    due=march(16),
    due_asked=march(31),
    lender_due=march(20),
    renewals=1,
    need_before=march(25),
    reason="not_on_shelf",
)
CHOSEN = Candidate("R1", 1, "LU", "L1", local_bib_id="lu-9")
TOLD = Telling(
    send="tell_lender_renewed",
    request="R1",
    partner="CUHK",
    wire_agency="HKU",
    wire_id="w1",
    at=NOW,
    item=ItemKey("CUHK", "C1"),
    bib_id="b1",
    title="Dune",
    volume="v.2",
    pickup_location="MAIN",
    due=march(16),
    renewals=1,
    reason="not_on_shelf",
    patron="UG1",
    need_before=march(25),
)
LETTER = Letter(
    send="letter_recalled",
    request="R1",
    patron="UG1",
    title="Dune",
    at=NOW,
    notice=7,
    due=march(16),
    old_due=march(30),
    pickup_location="MAIN",
    reason="not_on_shelf",
    recalled=True,
    lender="CUHK",
)
RECALLED = replace(ABOUT, recalled_on=march(9))
BEFORE = replace(ABOUT, due=march(30), partner="LU")


def test_a_partner_is_told_every_fact_of_the_request() -> None:
    assert telling(Send.TELL_LENDER_RENEWED, ABOUT, NOW) == TOLD


def test_a_lender_that_is_asked_for_a_later_date_is_told_that_date() -> None:
    assert telling(Send.ASK_LENDER_TO_RENEW, ABOUT, NOW).due == march(31)


def test_a_request_without_a_due_date_tells_the_lender_s() -> None:
    assert telling(Send.TELL_LENDER_RENEWED, replace(ABOUT, due=None), NOW).due == march(20)


def test_a_lender_is_asked_for_the_copy_that_was_chosen_under_its_own_number() -> None:
    asked = telling(Send.ASK_LENDER, replace(ABOUT, item_barcode=""), NOW, CHOSEN)
    assert (asked.item, asked.local_bib_id) == (ItemKey("LU", "L1"), "lu-9")
    assert telling(Send.ASK_LENDER, ABOUT, NOW, CHOSEN).item == ItemKey("CUHK", "C1")


def test_a_letter_has_the_dates_before_and_after_what_happened() -> None:
    assert letter(Send.LETTER_RECALLED, RECALLED, BEFORE, NOW, 7) == LETTER


def test_a_letter_about_no_recall_does_not_speak_of_one() -> None:
    assert not letter(Send.LETTER_OVERDUE, ABOUT, BEFORE, NOW, 7).recalled


@pytest.mark.parametrize("send", [Send.LETTER_DECLINED, Send.LETTER_UNFILLED])
def test_r38_a_letter_about_a_no_names_the_library_that_said_it(send: Send) -> None:
    assert letter(send, ABOUT, BEFORE, NOW, 7).lender == "LU"


@pytest.mark.parametrize(
    ("send", "wanted"),
    [
        (Send.LETTER_RECALLED, "2017-03-09 2017-03-16"),
        (Send.LETTER_DECLINED, "2"),
        (Send.LETTER_OVERDUE, "2017-03-16"),
        (Send.LETTER_RENEWAL_DENIED, "2017-03-16"),
        (Send.LETTER_PICKUP, "2017-03-02"),
        (Send.LETTER_EXPIRED, "2017-03-07"),
        (Send.LETTER_UNFILLED, ""),
    ],
)
def test_a_letter_is_sent_once_for_each_date_or_attempt(send: Send, wanted: str) -> None:
    assert occasion(send, RECALLED, BEFORE) == wanted


def test_r24_a_recall_after_a_cancelled_one_has_an_occasion_of_its_own() -> None:
    cancelled = replace(BEFORE, recall_cancelled_on=march(8))
    assert occasion(Send.LETTER_RECALLED, RECALLED, cancelled) == "2017-03-09 2017-03-16 after 2017-03-08"
