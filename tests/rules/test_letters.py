"""Which letters are still true when they leave: one row a kind, and each row with what makes it stand and what ends it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from hkall_gateway.rules.letters import STANDS, reason_stands
from hkall_gateway.rules.lifecycle import Send
from hkall_gateway.rules.tidings import Letter, is_letter, occasion
from hkall_gateway.rules.vocabulary import Position, Request, Side

P, S = Position, Send
DUE, EARLIER, LATER = date(2017, 3, 16), date(2017, 3, 15), date(2017, 3, 17)
ON = date(2017, 3, 10)
REQUEST = Request("R1", Side.BORROWING, P.ON_LOAN, "Dune", "b-dune", patron="UG1", due=DUE)

# fmt: off
CASES: list[tuple[Send, dict[str, Any], bool]] = [
    # the letter                facts of the request as it stands now                     still true
    (S.LETTER_PICKUP,           {"position": P.RECEIVED},                                 True),
    (S.LETTER_PICKUP,           {"position": P.RECEIVED, "expired_pickup": True},         True),
    (S.LETTER_PICKUP,           {"position": P.ON_LOAN},                                  False),
    (S.LETTER_PICKUP,           {"position": P.TO_RETURN},                                False),
    (S.LETTER_EXPIRED,          {"position": P.RECEIVED, "expired_pickup": True},         True),
    (S.LETTER_EXPIRED,          {"position": P.TO_RETURN, "expired_pickup": True},        True),
    (S.LETTER_EXPIRED,          {"position": P.RECEIVED, "expired_pickup": False},        False),
    (S.LETTER_EXPIRED,          {"expired_pickup": True, "used": True},                   False),
    (S.LETTER_DECLINED,         {"position": P.REQUESTED},                                True),
    (S.LETTER_DECLINED,         {"position": P.IN_TRANSIT},                               False),
    (S.LETTER_DECLINED,         {"position": P.UNFILLED},                                 False),
    (S.LETTER_UNFILLED,         {"position": P.UNFILLED},                                 True),
    (S.LETTER_UNFILLED,         {"position": P.REQUESTED},                                False),
    (S.LETTER_RECALLED,         {"recalled_on": ON},                                      True),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "due": LATER},                        True),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "due": EARLIER},                      False),
    (S.LETTER_RECALLED,         {"recalled_on": None},                                    False),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "position": P.TO_RETURN},             False),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "dropped_on": ON},                    False),
    (S.LETTER_RECALL_CANCELLED, {"recall_was_on": ON},                                    True),
    (S.LETTER_RECALL_CANCELLED, {"recalled_on": ON},                                      False),
    (S.LETTER_RECALL_CANCELLED, {"position": P.TO_RETURN},                                False),
    (S.LETTER_OVERDUE,          {},                                                       True),
    (S.LETTER_OVERDUE,          {"due": LATER},                                           False),
    (S.LETTER_OVERDUE,          {"claimed_on": LATER},                                    False),
    (S.LETTER_OVERDUE,          {"lost_on": LATER},                                       False),
    (S.LETTER_OVERDUE,          {"position": P.RETURN_TRANSIT},                           False),
    (S.LETTER_OVERDUE,          {"dropped_on": LATER},                                    False),
    (S.LETTER_RENEWAL_DENIED,   {},                                                       True),
    (S.LETTER_RENEWAL_DENIED,   {"due": LATER},                                           False),
    (S.LETTER_RENEWAL_DENIED,   {"position": P.CLOSED},                                   False),
]
# fmt: on
HEARD = frozenset({S.LETTER_RECALLED.value})


def letter(send: Send) -> Letter:
    return Letter(send.value, "R1", "UG1", "Dune", datetime(2017, 3, 10, 2, tzinfo=UTC), due=DUE)


@pytest.mark.parametrize(("send", "facts", "stands"), CASES)
def test_a_letter_is_sent_only_while_its_reason_stands(send: Send, facts: dict[str, Any], stands: bool) -> None:
    assert reason_stands(letter(send), replace(REQUEST, **facts), HEARD) is stands


def test_only_a_patron_who_heard_of_a_recall_hears_of_its_end() -> None:
    assert not reason_stands(letter(S.LETTER_RECALL_CANCELLED), REQUEST, frozenset())


def test_every_kind_of_letter_has_a_row_and_each_row_a_yes_and_a_no() -> None:
    assert STANDS.keys() == {send for send in Send if is_letter(send)}
    assert {(send, stands) for send, _, stands in CASES} == {(send, stands) for send in STANDS for stands in (True, False)}


def test_a_recall_after_one_that_was_cancelled_is_another_occasion() -> None:
    recalled = replace(REQUEST, recalled_on=ON)
    cancelled = replace(REQUEST, recall_was_on=ON, recall_cancelled_on=ON)

    first, again = occasion(S.LETTER_RECALLED, recalled, REQUEST), occasion(S.LETTER_RECALLED, recalled, cancelled)

    assert first != again
    assert occasion(S.LETTER_RECALL_CANCELLED, cancelled, recalled) == "2017-03-10 2017-03-10 2017-03-16"


def test_a_letter_about_a_recall_that_names_no_date_is_still_true() -> None:
    recalled = replace(REQUEST, recalled_on=ON)
    undated = replace(letter(S.LETTER_RECALLED), due=None)
    assert reason_stands(undated, recalled, HEARD)
    assert reason_stands(letter(S.LETTER_RECALLED), replace(recalled, due=None), HEARD)
