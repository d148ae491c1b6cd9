"""The table of letters: each row is enabled by a policy key, stored once per occasion, and sent while its reason holds."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from datetime import UTC, date, datetime
from typing import Any

import pytest

from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.letters import LETTERS, EarlierLetter, letter, occasion, reason_stands, silent
from hkall_gateway.rules.messages.outbox_messages import PatronNotice, is_letter
from hkall_gateway.rules.published_rules import PUBLISHED
from hkall_gateway.rules.settings import Notices
from hkall_gateway.rules.vocabulary import Position, Request, Side

P, S = Position, Notification
DUE, EARLIER, LATER = date(2017, 3, 16), date(2017, 3, 15), date(2017, 3, 17)
ON = date(2017, 3, 10)
NOW = datetime(2017, 3, 10, 2, tzinfo=UTC)
REQUEST = Request(id="R1", side=Side.BORROWING, position=P.ON_LOAN, title="Dune", bib_id="b-dune", patron="UG1", due=DUE)

# fmt: off
CASES: list[tuple[Notification, dict[str, Any], bool]] = [
    # letter                    facts of the current request                              still true
    (S.LETTER_PICKUP,           {"position": P.RECEIVED},                                 True),
    (S.LETTER_PICKUP,           {"position": P.RECEIVED, "expired_pickup": True},         True),
    (S.LETTER_PICKUP,           {"position": P.ON_LOAN},                                  False),
    (S.LETTER_PICKUP,           {"position": P.TO_RETURN},                                False),
    (S.LETTER_PICKUP_REMINDER,  {"position": P.RECEIVED},                                 True),
    (S.LETTER_PICKUP_REMINDER,  {"position": P.RECEIVED, "expired_pickup": True},         False),
    (S.LETTER_PICKUP_REMINDER,  {"position": P.ON_LOAN},                                  False),
    (S.LETTER_EXPIRED,          {"position": P.RECEIVED, "expired_pickup": True},         True),
    (S.LETTER_EXPIRED,          {"position": P.TO_RETURN, "expired_pickup": True},        True),
    (S.LETTER_EXPIRED,          {"position": P.RECEIVED, "expired_pickup": False},        False),
    (S.LETTER_EXPIRED,          {"expired_pickup": True, "used": True},                   False),
    (S.LETTER_DECLINED,         {"position": P.REQUESTED},                                True),
    (S.LETTER_DECLINED,         {"position": P.IN_TRANSIT},                               False),
    (S.LETTER_DECLINED,         {"position": P.UNFILLED},                                 False),
    (S.LETTER_POSTPONED,        {"position": P.NEW},                                      True),
    (S.LETTER_POSTPONED,        {"position": P.REQUESTED},                                False),
    (S.LETTER_UNFILLED,         {"position": P.UNFILLED},                                 True),
    (S.LETTER_UNFILLED,         {"position": P.REQUESTED},                                False),
    (S.LETTER_RECALLED,         {"recalled_on": ON},                                      True),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "due": LATER},                        True),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "due": EARLIER},                      False),
    (S.LETTER_RECALLED,         {"recalled_on": None},                                    False),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "position": P.TO_RETURN},             False),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "dropped_on": ON},                    False),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "claimed_on": ON},                    False),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "lost_on": ON},                       False),
    (S.LETTER_RECALL_CANCELLED, {"recall_was_on": ON},                                    True),
    (S.LETTER_RECALL_CANCELLED, {"recall_was_on": ON, "claimed_on": ON},                  False),
    (S.LETTER_RECALL_CANCELLED, {"recall_was_on": ON, "lost_on": ON},                     False),
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
    (S.LETTER_RENEWAL_DENIED,   {"claimed_on": ON},                                       False),
    (S.LETTER_RENEWAL_DENIED,   {"position": P.CLOSED},                                   False),
]
# fmt: on
HEARD = [EarlierLetter(kind=S.LETTER_RECALLED, occasion="2017-03-09 2017-03-20", is_certain=True)]


def queued(send: Notification) -> PatronNotice:
    """Return a letter waiting in the outbox."""
    return PatronNotice(send=send.value, request="R1", patron="UG1", title="Dune", at=NOW, due=DUE)


@pytest.mark.parametrize(("send", "facts", "stands"), CASES)
def test_letter_is_sent_only_while_its_reason_holds(send: Notification, facts: dict[str, Any], stands: bool) -> None:
    assert reason_stands(queued(send), replace(REQUEST, **facts), HEARD) is stands


def test_cancellation_of_a_recall_is_announced_only_if_the_recall_was() -> None:
    assert not reason_stands(queued(S.LETTER_RECALL_CANCELLED), REQUEST, [])


RECALL = EarlierLetter(kind=S.LETTER_RECALLED, occasion=f"2017-03-09 {DUE}", is_certain=True)
RECALL_TO_ANOTHER_DAY = replace(RECALL, occasion=f"2017-03-09 {LATER}")
PERHAPS_RECALL = replace(RECALL, is_certain=False)
CANCELLATION = EarlierLetter(kind=S.LETTER_RECALL_CANCELLED, occasion="", is_certain=True)
PERHAPS_CANCELLATION = replace(CANCELLATION, is_certain=False)
OVERDUE = EarlierLetter(kind=S.LETTER_OVERDUE, occasion=str(DUE), is_certain=True)


@pytest.mark.parametrize(
    ("earlier", "recalled", "cancelled"),
    [
        ([], True, False),
        ([OVERDUE], True, False),
        ([RECALL], False, True),
        ([RECALL, OVERDUE], False, True),
        ([RECALL_TO_ANOTHER_DAY], True, True),
        ([PERHAPS_RECALL], True, True),
        ([RECALL, PERHAPS_RECALL], False, True),
        ([RECALL, CANCELLATION], True, False),
        ([RECALL, PERHAPS_CANCELLATION], True, True),
        ([RECALL, CANCELLATION, PERHAPS_RECALL], True, True),
        ([RECALL, CANCELLATION, RECALL], False, True),
    ],
)
def test_letter_about_a_recall_is_sent_if_the_patron_may_believe_otherwise(
    earlier: list[EarlierLetter], recalled: bool, cancelled: bool
) -> None:
    on, off = replace(REQUEST, recalled_on=ON), replace(REQUEST, recall_was_on=ON)
    assert reason_stands(queued(S.LETTER_RECALLED), on, earlier) is recalled
    assert reason_stands(queued(S.LETTER_RECALL_CANCELLED), off, earlier) is cancelled


def test_recall_letter_without_a_date_stays_valid() -> None:
    recalled = replace(REQUEST, recalled_on=ON)
    undated = replace(queued(S.LETTER_RECALLED), due=None)
    assert reason_stands(undated, recalled, HEARD)
    assert reason_stands(queued(S.LETTER_RECALLED), replace(recalled, due=None), HEARD)


# ---- consistency of the table


@pytest.mark.walks_a_table
def test_every_letter_kind_is_tested_while_its_reason_holds_and_afterwards() -> None:
    assert LETTERS.keys() == {send for send in Notification if is_letter(send)}
    assert {(send, stands) for send, _, stands in CASES} == {(send, stands) for send in LETTERS for stands in (True, False)}


def test_each_letter_kind_documents_its_occasion_and_rule() -> None:
    for row in LETTERS.values():
        rules = re.search(r" \((R[^)]+)\)\.$", row.when)
        assert rules, row.when
        assert set(rules[1].split(", ")) <= PUBLISHED.keys()


@pytest.mark.walks_a_table
@pytest.mark.parametrize("key", [field.name for field in fields(Notices)])
def test_each_notices_key_controls_only_its_letters(key: str) -> None:
    """`renewal` enables no letter: a renewal sends none (R30)."""
    every: dict[str, Any] = {field.name: field.name != "renewal" for field in fields(Notices)}
    of_this_key = {send for send, row in LETTERS.items() if row.notice == key}
    assert silent(Notices(**every)) == frozenset()
    assert silent(Notices(**every | {key: False})) == of_this_key
    assert bool(of_this_key) == (key != "renewal")


# ---- occasions

# fmt: off
OCCASIONS: list[tuple[Notification, dict[str, Any], str]] = [
    # letter                    facts after the event                                       occasion
    (S.LETTER_PICKUP,           {"received_on": ON},                                        "2017-03-10"),
    (S.LETTER_PICKUP,           {"received_on": LATER},                                     "2017-03-17"),
    (S.LETTER_PICKUP_REMINDER,  {"pickup_last": ON},                                        "2017-03-10"),
    (S.LETTER_PICKUP_REMINDER,  {"pickup_last": LATER},                                     "2017-03-17"),
    (S.LETTER_EXPIRED,          {"pickup_last": ON},                                        "2017-03-10"),
    (S.LETTER_EXPIRED,          {"pickup_last": LATER},                                     "2017-03-17"),
    (S.LETTER_DECLINED,         {"attempt": 2},                                             "2"),
    (S.LETTER_DECLINED,         {"attempt": 3},                                             "3"),
    (S.LETTER_UNFILLED,         {},                                                         ""),
    (S.LETTER_POSTPONED,        {"attempt": 1},                                             "1"),
    (S.LETTER_POSTPONED,        {"attempt": 2},                                             "2"),
    (S.LETTER_RECALLED,         {"recalled_on": ON},                                        "2017-03-10 2017-03-16"),
    (S.LETTER_RECALLED,         {"recalled_on": ON, "due": EARLIER},                        "2017-03-10 2017-03-15"),
    (S.LETTER_RECALL_CANCELLED, {"recall_was_on": ON, "recall_cancelled_on": ON},           "2017-03-10 2017-03-10 2017-03-16"),
    (S.LETTER_RECALL_CANCELLED, {"recall_was_on": ON, "recall_cancelled_on": LATER},        "2017-03-10 2017-03-17 2017-03-16"),
    (S.LETTER_OVERDUE,          {"overdue_notice_for": DUE},                                "2017-03-16"),
    (S.LETTER_OVERDUE,          {"overdue_notice_for": LATER},                              "2017-03-17"),
    (S.LETTER_RENEWAL_DENIED,   {},                                                         "2017-03-16"),
    (S.LETTER_RENEWAL_DENIED,   {"due": LATER},                                             "2017-03-17"),
]
# fmt: on
ONCE_FOR_ALL = {S.LETTER_UNFILLED}
"""Letters that are sent when a request has ended."""


@pytest.mark.parametrize(("send", "facts", "wanted"), OCCASIONS)
def test_letter_is_sent_once_per_date_or_attempt(send: Notification, facts: dict[str, Any], wanted: str) -> None:
    assert occasion(send, replace(REQUEST, **facts), REQUEST) == wanted


def test_each_letter_can_be_sent_again_for_another_occasion() -> None:
    """Two occasions per letter: a row without an occasion would allow only one letter per request."""
    seen = {send: {wanted for one, _, wanted in OCCASIONS if one is send} for send in LETTERS}
    assert {send for send, occasions in seen.items() if len(occasions) < 2} == ONCE_FOR_ALL


def test_r24_recall_after_a_cancelled_recall_is_another_occasion() -> None:
    recalled = replace(REQUEST, recalled_on=ON)
    cancelled = replace(REQUEST, recall_was_on=ON, recall_cancelled_on=ON)
    assert occasion(S.LETTER_RECALLED, recalled, cancelled) == "2017-03-10 2017-03-16 after 2017-03-10"


# ---- request data in the letter

BEFORE = replace(REQUEST, due=date(2017, 3, 30), partner="LU")
AFTER = replace(REQUEST, partner="CUHK", pickup_location="MAIN", reason="not_on_shelf", recalled_on=ON)
WRITTEN = PatronNotice(
    send="letter_recalled",
    request="R1",
    patron="UG1",
    title="Dune",
    at=NOW,
    notice=7,
    due=DUE,
    old_due=date(2017, 3, 30),
    pickup_location="MAIN",
    reason="not_on_shelf",
    recalled=True,
    lender="CUHK",
)


def test_letter_has_the_dates_before_and_after_the_event() -> None:
    assert letter(S.LETTER_RECALLED, AFTER, BEFORE, NOW, 7) == WRITTEN


def test_recall_text_is_absent_without_a_recall() -> None:
    assert not letter(S.LETTER_OVERDUE, replace(AFTER, recalled_on=None), BEFORE, NOW, 7).recalled


@pytest.mark.parametrize("send", LETTERS)
def test_r38_refusal_letter_names_the_refusing_library(send: Notification) -> None:
    about_a_no = send in {S.LETTER_DECLINED, S.LETTER_UNFILLED}
    assert letter(send, AFTER, BEFORE, NOW, 7).lender == ("LU" if about_a_no else "CUHK")
