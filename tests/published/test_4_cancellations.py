"""Cancellation of requests, by the patron and by the lending library."""

from __future__ import annotations

from typing import Final

import pytest

from tests.published.page import SHELF, STAGES, Page

# ---- Cancellation of requests


ON_TIME: Final = "HKALL REQUESTD"
STATUSES: Final = [ON_TIME, "TRANSFERRED", "HKALL RECVD"]
"""The statuses of a request in the circulation record, in order."""


@pytest.mark.parametrize("status", STATUSES)
def test_requests_can_be_cancelled_only_while_the_status_is_hkall_requestd(page: Page, status: str) -> None:
    """R34. Refused for TRANSFERRED and HKALL RECVD; catalogue and terminal say the same."""
    reader, online, here = page.reader(), page.title(), page.title()
    for title in (online, here):
        STAGES[status](page, reader, title)
    answer, screen = page.catalogue.cancel(reader, online), page.counter.cancel(reader, here)
    assert (answer.ok, screen.ok) == (status == ON_TIME, status == ON_TIME)
    if status == ON_TIME:
        assert screen.says == "The request is cancelled"
    else:
        assert answer.rule == "R34"
        assert screen.says == "Too late to cancel: the book is on its way (R34)"


def test_cancelled_request_leaves_the_record_and_its_lender_is_notified(page: Page) -> None:
    """R34, R21. The quota is released; the patron gets no letter about their own cancellation."""
    reader = page.reader(local_loans=59)
    title = page.requested(reader)
    assert page.catalogue.cancel(reader, title).ok
    assert page.lenders["CUHK"].heard == ["RequestItem", "CancelRequestItem"]
    assert page.counter.status(reader, title) == ""
    assert page.letters_to(reader) == []
    assert page.catalogue.request(reader, page.title()).ok


@pytest.mark.parametrize("status", STATUSES)
def test_circulation_record_shows_the_request_status(page: Page, status: str) -> None:
    """R35, R36. In the terms of the page, at a terminal."""
    reader, title = page.reader(), page.title()
    STAGES[status](page, reader, title)
    assert page.counter.status(reader, title) == status


@pytest.mark.parametrize("status", STATUSES)
def test_online_circulation_record_shows_the_request_status(page: Page, status: str) -> None:
    """R35, R36. In the terms of the page, in the discovery system."""
    reader, title = page.reader(), page.title()
    STAGES[status](page, reader, title)
    assert status in page.catalogue.record(reader).status[title.name]


def test_user_is_notified_when_every_lending_library_has_declined(page: Page) -> None:
    """R37, R38. The first refusal moves the request on without a letter; after the last one the patron is notified."""
    reader = page.reader()
    title = page.requested(reader, page.title(CUHK=SHELF, LU=SHELF))
    page.lenders["CUHK"].cancels(title.at("CUHK"))
    assert page.letters_to(reader) == []
    assert page.counter.status(reader, title) == "HKALL REQUESTD"
    page.lenders["LU"].cancels(title.at("LU"))
    (letter,) = page.letters_to(reader)
    assert letter.subject == f"Not available: {title.name}"
    assert "none of the other libraries can lend this book now" in letter.text
    assert page.counter.status(reader, title) == ""


# fmt: off
THREE_REASONS: Final = {
    "not_on_shelf":        "it was not found on the shelf",
    "checked_out_locally": "a reader of that library has it",
    "not_suitable":        "it is not fit to be lent",
}
"""The lender's problem, and the text of the letter."""
# fmt: on


@pytest.mark.parametrize(
    ("reason", "status"),
    [("not_on_shelf", "Missing"), ("checked_out_locally", "On Loan"), ("not_suitable", "Not Available")],
)
def test_hku_may_decline_as_a_lender_for_the_same_three_reasons(page: Page, reason: str, status: str) -> None:
    """R37. The borrowing library receives the reason as the item status."""
    borrower, title = page.lenders["CUHK"], page.title(HKU=SHELF)
    assert borrower.borrows(title).ok
    page.staff(f"request decline {title.at('HKU').barcode} --reason {reason}")
    answer = borrower.documents[-1]
    assert (answer.service, answer.text("ItemOptionalFields/CirculationStatus")) == ("ItemRequestCancelled", status)


@pytest.mark.parametrize("reason", THREE_REASONS)
def test_letter_states_the_lenders_reason(page: Page, reason: str) -> None:
    """R37, R38. Not found on the shelf, checked out by a local user, not suitable for loan."""
    reader = page.reader()
    page.lenders["CUHK"].will_answer(reason)
    page.requested(reader)
    (letter,) = page.letters_to(reader)
    assert THREE_REASONS[reason] in letter.text


# fmt: off
IN_OTHER_WORDS: Final = {
    "NotOnShelf":                             THREE_REASONS["not_on_shelf"],
    "Item Not Available By Need Before Date": THREE_REASONS["checked_out_locally"],
    "Item Does Not Circulate":                THREE_REASONS["not_suitable"],
    "The roof leaks":                         "CUHK says no",
}
"""Replies of lender systems; for other reasons the letter quotes the text of the reply."""
# fmt: on


@pytest.mark.parametrize("answer", IN_OTHER_WORDS)
def test_letter_states_the_reason_for_every_wording_of_lender_systems(page: Page, answer: str) -> None:
    """R37, R38. The three reasons in the terms of several systems, and a fourth one in the lender's own words."""
    reader = page.reader()
    page.lenders["CUHK"].will_answer(answer)
    page.requested(reader)
    (letter,) = page.letters_to(reader)
    assert IN_OTHER_WORDS[answer] in letter.text
