"""Holds, recalls and renewals of books that are on loan."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest

from tests.published.page import SHELF, STAGES, WITH_US, Page
from tests.published.partners import day
from tests.published.records import Copy, Reader
from tests.published.table import CATEGORIES, DAYS

# ---- Holds and recalls


def test_holds_cannot_be_placed_on_checked_out_hkall_books(page: Page) -> None:
    """R22. Neither on the book of another patron, nor on a title without an available item."""
    book, other = page.lent(page.reader()), page.reader()
    assert page.counter.hold(other, book).says == "HKALL books cannot be put on hold (R22)"
    assert page.catalogue.request(other, page.title(CUHK="On Loan"), "RequestType=Hold").rule == "R22"


def test_only_the_owning_library_may_recall(page: Page) -> None:
    """R23. Another library is refused, and the loan is unchanged."""
    reader = page.reader("postgraduates")
    book = page.lent(reader)
    assert not page.lenders["LU"].recalls(book).ok
    assert page.catalogue.record(reader).due == {book.barcode: date(2017, 3, 31)}
    assert page.letters_to(reader) == []
    assert page.lenders["CUHK"].recalls(book).ok
    assert page.catalogue.record(reader).due == {book.barcode: date(2017, 3, 16)}


def test_hku_users_may_recall_books_lent_to_another_library(page: Page) -> None:
    """R23. HKU is an owning library, too: staff recall for its user, and the borrowing library is notified of the date."""
    borrower, title = page.lenders["CUHK"], page.title(HKU=SHELF)
    book = title.at("HKU")
    assert borrower.borrows(title).ok
    page.staff(f"request ship {book.barcode}")
    page.staff(f"request recall {book.barcode} --reason 'wanted by a user of ours'")
    recall = borrower.documents[-1]
    assert (recall.service, recall.text("ItemId/ItemIdentifierValue")) == ("ItemRecalled", book.barcode)
    assert day(recall.text("DateDue")) == date(2017, 3, 8)


@pytest.mark.parametrize("where", WITH_US)
def test_book_may_be_recalled_at_any_time(page: Page, where: str) -> None:
    """R23, R24. In transit and on the hold shelf, too: the counter is warned at checkout."""
    reader, title = page.reader(), page.title()
    STAGES[where](page, reader, title)
    book = title.at("CUHK")
    assert page.lenders["CUHK"].recalls(book).ok
    if where == "TRANSFERRED":
        page.counter.check_in(book)
    if where != "ON LOAN":
        assert "Its owner wants it back" in page.counter.check_out(reader, book).says
    assert page.counter.renew(reader, book).says == "Recalled by its library. Please return it by 2017-03-16 (R28)"


def test_user_receives_an_email_upon_recall(page: Page) -> None:
    """R24, R26. With the old and the new due date; one letter, however often the lender repeats the recall."""
    reader = page.reader("postgraduates")
    book = page.lent(reader)
    page.clock("2017-03-21 10:00:00")
    assert page.lenders["CUHK"].recalls(book).ok
    assert page.lenders["CUHK"].recalls(book).ok
    (letter,) = page.letters_to(reader)
    assert letter.subject == f"Recalled by its library: {book.title}"
    assert "It was due on Friday 31 March 2017. Please return it by Tuesday 28 March 2017" in letter.text
    assert "it can no longer be renewed" in letter.text


@pytest.mark.parametrize("where", ["TRANSFERRED", "HKALL RECVD"])
def test_patron_borrowing_an_already_recalled_book_receives_an_email(page: Page, where: str) -> None:
    """R24. At the checkout, with the date."""
    reader, title = page.reader("postgraduates"), page.title()
    STAGES[where](page, reader, title)
    page.lenders["CUHK"].recalls(title.at("CUHK"))
    page.counter.check_in(title.at("CUHK"))
    page.letters_to(reader)
    assert page.counter.check_out(reader, title.at("CUHK")).due == date(2017, 3, 16)
    (letter,) = page.letters_to(reader)
    assert letter.subject == f"Recalled by its library: {title.name}"
    assert "Thursday 16 March 2017" in letter.text


@pytest.mark.parametrize(
    ("category", "recalled", "due"),
    [
        ("undergraduates", "2017-03-04", date(2017, 3, 16)),  # fifteen days of use: nothing to shorten
        ("postgraduates", "2017-03-04", date(2017, 3, 16)),
        ("postgraduates", "2017-03-11", date(2017, 3, 18)),  # seven days to bring it back
        ("postgraduates", "2017-03-16", date(2017, 3, 23)),
        ("postgraduates", "2017-03-21", date(2017, 3, 28)),
        ("postgraduates", "2017-03-28", date(2017, 3, 31)),  # never later than it was
    ],
)
def test_due_date_may_be_shortened_but_fifteen_calendar_days_of_use_remain(
    page: Page, category: str, recalled: str, due: date
) -> None:
    """R25, R26. Lent on 1 March, for any date that the lender names."""
    reader = page.reader(category)
    book = page.lent(reader)
    page.clock(f"{recalled} 10:00:00")
    assert page.lenders["CUHK"].recalls(book, f"due={recalled}").ok
    assert page.catalogue.record(reader).due == {book.barcode: due}


def test_lenders_earlier_date_does_not_shorten_the_fifteen_days(page: Page) -> None:
    """R25. The lender's shipment named 8 March, and it recalls the book on the 6th."""
    reader = page.reader("postgraduates")
    book = page.lent(reader, due="2017-03-08")
    page.clock("2017-03-06 10:00:00")
    assert page.lenders["CUHK"].recalls(book).ok
    assert page.catalogue.record(reader).due == {book.barcode: date(2017, 3, 16)}


def test_cancelled_recall_restores_the_due_date(page: Page) -> None:
    """R26, R28. The loan may be renewed again."""
    reader = page.reader("postgraduates")
    book = page.lent(reader)
    page.lenders["CUHK"].recalls(book)
    page.lenders["CUHK"].takes_recall_back(book)
    assert page.catalogue.record(reader).due == {book.barcode: date(2017, 3, 31)}
    page.clock("2017-03-24 10:00:00")
    assert page.catalogue.renew(reader, book).ok


def test_patron_notified_of_a_recall_is_notified_of_its_cancellation(page: Page) -> None:
    """R24, R26. With the restored due date."""
    reader = page.reader("postgraduates")
    book = page.lent(reader)
    page.lenders["CUHK"].recalls(book)
    assert len(page.letters_to(reader)) == 1
    page.lenders["CUHK"].takes_recall_back(book)
    (letter,) = page.letters_to(reader)
    assert book.title in letter.subject
    assert "Friday 31 March 2017" in letter.text


# ---- Renewals


def test_two_renewals_are_allowed(page: Page) -> None:
    """R27. The third is refused."""
    reader = page.reader()
    book = page.lent(reader)
    page.clock("2017-03-09 10:00:00")
    assert page.catalogue.renew(reader, book).due == date(2017, 3, 24)
    page.clock("2017-03-17 10:00:00")
    assert page.counter.renew(reader, book).says == "Renewed until 2017-04-01"
    page.clock("2017-03-25 10:00:00")
    assert page.counter.renew(reader, book).says == "Renewed 2 times already. Due on 2017-04-01 (R27)"
    assert page.catalogue.renew(reader, book).rule == "R27"


def test_recalled_book_is_not_renewed(page: Page) -> None:
    """R28. The terminal and the catalogue name the date by which it is to be returned, or the rule."""
    reader = page.reader()
    book = page.lent(reader)
    page.clock("2017-03-10 10:00:00")
    assert page.lenders["CUHK"].recalls(book).ok
    assert page.counter.renew(reader, book).says == "Recalled by its library. Please return it by 2017-03-16 (R28)"
    assert page.catalogue.renew(reader, book).rule == "R28"


@pytest.mark.parametrize("services", ["terminal", "catalogue"])
def test_renewal_repeated_after_a_recall_is_refused(page: Page, services: str) -> None:
    """R28. The lender recalled it a minute after the renewal: the first reply is no longer valid."""
    reader = page.reader()
    book = page.lent(reader)
    renew: Callable[[Reader, Copy], Any] = {"terminal": page.counter.renew, "catalogue": page.catalogue.renew}[services]
    page.clock("2017-03-09 10:00:00")
    assert renew(reader, book).ok
    page.clock("2017-03-09 10:01:00")
    assert page.lenders["CUHK"].recalls(book).ok
    page.clock("2017-03-09 10:02:00")
    again = renew(reader, book)
    assert not again.ok
    assert "R28" in again.says


@pytest.mark.parametrize(
    ("when", "due", "says"),
    [
        ("2017-03-08 23:59:59", None, "Can be renewed from 2017-03-09 on. Due on 2017-03-16 (R29)"),
        ("2017-03-09 00:00:00", date(2017, 3, 24), "Renewed until 2017-03-24"),
        ("2017-03-16 23:59:59", date(2017, 3, 31), "Renewed until 2017-03-31"),
        ("2017-03-17 00:00:00", None, "Overdue since 2017-03-16: cannot be renewed. Please return it (R29)"),
    ],
)
def test_renewal_is_possible_within_seven_calendar_days_of_the_due_date(
    page: Page, when: str, due: date | None, says: str
) -> None:
    """R29. From the seventh day before the due date to its last second; the terminal says the same as the catalogue."""
    reader = page.reader()
    book, other = page.lent(reader), page.lent(reader)
    page.clock(when)
    online = page.catalogue.renew(reader, book)
    assert (online.due, online.rule) == (due, "" if due else "R29")
    assert page.counter.renew(reader, other).says == says


def test_no_email_is_sent_on_renewal_and_the_record_shows_the_new_due_date(page: Page) -> None:
    """R30, R31. The patron sees the date in the record."""
    reader = page.reader()
    book = page.lent(reader)
    page.clock("2017-03-10 10:00:00")
    assert page.catalogue.renew(reader, book).due == date(2017, 3, 25)
    page.clock("2017-03-12 10:00:00")
    assert page.letters_to(reader) == []
    assert page.catalogue.record(reader).due == {book.barcode: date(2017, 3, 25)}


@pytest.mark.parametrize(("category", "later"), [("undergraduates", "postgraduates"), ("postgraduates", "undergraduates")])
def test_renewal_period_equals_the_original_loan_period(page: Page, category: str, later: str) -> None:
    """R32. Counted from the day of the renewal, even if the patron's category has changed."""
    reader, days = page.reader(category), CATEGORIES[category][DAYS]
    book = page.lent(reader)
    page.change(reader, later)
    page.clock({15: "2017-03-16 10:00:00", 30: "2017-03-31 10:00:00"}[days])
    assert page.catalogue.renew(reader, book).due == {15: date(2017, 3, 31), 30: date(2017, 4, 30)}[days]


def test_renewal_period_does_not_depend_on_the_lenders_due_date(page: Page) -> None:
    """R27, R32. The lender wrote 15 April; both renewals are granted in full."""
    reader = page.reader("postgraduates")
    book = page.lent(reader, due="2017-04-15")
    page.clock("2017-03-31 10:00:00")
    assert page.catalogue.renew(reader, book).due == date(2017, 4, 30)
    page.clock("2017-04-30 10:00:00")
    assert page.catalogue.renew(reader, book).due == date(2017, 5, 30)


def test_renewed_book_is_still_subject_to_recall(page: Page) -> None:
    """R33. A renewal continues the loan: the fifteen days of use count from the first checkout."""
    reader = page.reader()
    book = page.lent(reader)
    page.clock("2017-03-11 10:00:00")
    assert page.catalogue.renew(reader, book).due == date(2017, 3, 26)
    page.clock("2017-03-17 10:00:00")
    assert page.lenders["CUHK"].recalls(book).ok
    (letter,) = page.letters_to(reader)
    assert "Please return it by Friday 24 March 2017" in letter.text
    assert page.catalogue.record(reader).due == {book.barcode: date(2017, 3, 24)}


def test_renewal_stands_when_the_lender_refuses_it_without_a_recall(page: Page) -> None:
    """R28. A refusal for another reason is shown to staff, and the new due date stays."""
    reader = page.reader()
    book = page.lent(reader)
    page.clock("2017-03-10 10:00:00")
    page.lenders["CUHK"].will_answer("Maximum Renewals Exceeded")
    assert page.catalogue.renew(reader, book).due == date(2017, 3, 25)
    assert page.lenders["CUHK"].heard[-1] == "ItemRenewed"
    assert page.catalogue.record(reader).due == {book.barcode: date(2017, 3, 25)}
    assert book.barcode in page.staff("flagged")


def test_expired_or_blocked_card_cannot_renew(page: Page) -> None:
    """R2, R28. Such a card cannot borrow either."""
    reader = page.reader()
    book = page.lent(reader)
    page.clock("2017-03-10 10:00:00")
    for facts in ({"expires": "2017-03-09"}, {"blocked": "yes"}):
        page.change(reader, **facts)
        assert page.counter.renew(reader, book).says.endswith("(R2)")
        assert page.catalogue.renew(reader, book).rule == "R2"
