"""Borrowing and returning, loan quotas and loan periods."""

from __future__ import annotations

from datetime import date

import pytest

from tests.published.page import SHELF, Page
from tests.published.records import Copy, Reader, Title
from tests.published.table import CATEGORIES, DAYS, QUOTA
from tests.published.terminals import READY

# ---- How a book is borrowed and returned


def test_patron_is_notified_by_email_when_the_book_is_available(page: Page) -> None:
    """R12. The letter is sent on arrival, and once however often the book is scanned."""
    reader = page.reader()
    book = page.coming(reader)
    assert page.letters_to(reader) == []
    page.clock("2017-03-06 10:00:00")
    assert page.counter.check_in(book).says == "Received: put on the hold shelf"
    assert page.counter.check_in(book).ok
    (letter,) = page.letters_to(reader)
    assert letter.subject == f"Ready for you: {book.title}"
    assert "collect it at the Lending Services counter of the Main Library" in letter.text
    assert "The last day to collect it is Saturday 11 March 2017." in letter.text
    assert page.counter.record(reader).says == f"HKALL books ready to collect: 1 / {book.title}: HKALL RECVD"


def test_notified_patron_borrows_the_book_at_the_counter(page: Page) -> None:
    """R13, R16. Not another patron, not before the arrival, and not at a self-check."""
    reader, other = page.reader(), page.reader()
    book = page.coming(reader)
    assert page.counter.check_out(reader, book).says == "This book has not arrived yet (R13)"
    assert page.counter.check_in(book).ok
    assert page.counter.check_out(other, book).says == "This book was requested by somebody else (R13)"
    assert "please go to the Lending Services counter" in page.selfcheck.check_out(reader, book).says
    assert page.counter.check_out(reader, book).ok


def test_patron_has_five_calendar_days_to_pick_up_the_book(page: Page) -> None:
    """R14. The day of the letter is day 0; the fifth day lasts to its last second."""
    reader, book = _on_the_shelf_since_6_march(page)
    page.clock("2017-03-11 23:59:59")
    assert page.counter.record(reader).count(READY) == 1
    assert page.counter.check_in(book).field("CL") == "hold"
    assert page.counter.check_out(reader, book).due == date(2017, 3, 26)


def test_last_pickup_day_moves_to_the_next_open_day(page: Page) -> None:
    """R14. Our choice, since the page does not say: nobody can collect a book at a closed counter."""
    page.close_library("2017-03-11", "2017-03-12")
    reader, book = _on_the_shelf_since_6_march(page)
    page.clock("2017-03-13 23:59:59")
    assert page.counter.record(reader).count(READY) == 1
    assert page.counter.check_in(book).field("CL") == "hold"
    page.clock("2017-03-14 00:00:00")
    assert page.counter.record(reader).count(READY) == 0


def test_pickup_expires_on_the_sixth_day(page: Page) -> None:
    """R14, R15. The circulation record no longer counts it, and a scan at the counter returns it."""
    reader, book = _on_the_shelf_since_6_march(page)
    page.clock("2017-03-12 00:00:00")
    record = page.counter.record(reader)
    assert record.count(READY) == 0
    assert "ready to collect" not in record.says
    home = page.counter.check_in(book)
    assert home.ok
    assert "send to CUHK" in home.says
    assert home.field("CV") == "04", "the alert for a book of another library"


def test_counter_may_still_lend_a_book_on_the_sixth_day_before_its_return(page: Page) -> None:
    """R14. Our choice, since the page does not say: both the book and its patron are at the counter."""
    reader, book = _on_the_shelf_since_6_march(page)
    page.clock("2017-03-12 09:00:00")
    assert page.counter.check_out(reader, book).due == date(2017, 3, 27)


def test_staff_may_extend_the_pickup_period(page: Page) -> None:
    """R14. A scan keeps the book on the hold shelf until the new last day."""
    reader, book = _on_the_shelf_since_6_march(page)
    page.staff(f"request extend {book.barcode} --on 2017-03-14 --reason illness")
    page.clock("2017-03-14 23:59:59")
    assert page.counter.record(reader).count(READY) == 1
    assert page.counter.check_in(book).field("CL") == "hold"
    page.clock("2017-03-15 00:00:00")
    assert page.counter.record(reader).count(READY) == 0


def test_items_not_claimed_are_returned_to_the_lending_library_without_notification(page: Page) -> None:
    """R15. The patron gets no letter and may request the title again; the lender is notified of the return."""
    title = page.title(CUHK=SHELF, HKUST=SHELF)
    reader, book = _on_the_shelf_since_6_march(page, title)
    page.clock("2017-03-12 09:00:00")
    assert book.barcode in page.staff("expired-pickups")
    page.staff(f"request return-unused {book.barcode}")
    page.staff(f"request dispatch {book.barcode}")
    assert page.lenders["CUHK"].heard[-1] == "ItemShipped"
    page.clock("2017-03-20 09:00:00")
    assert page.letters_to(reader) == []
    assert page.catalogue.request(reader, title).ok


def _on_the_shelf_since_6_march(page: Page, title: Title | None = None) -> tuple[Reader, Copy]:
    reader = page.reader()
    page.clock("2017-03-06 10:00:00")
    book = page.arrived(reader, title)
    assert len(page.letters_to(reader)) == 1
    return reader, book


def test_books_are_returned_to_the_lending_services_counter(page: Page) -> None:
    """R16. The screen names the destination; a self-check refers the patron to the counter."""
    reader = page.reader()
    book = page.lent(reader)
    assert "please go to the Lending Services counter" in page.selfcheck.check_in(book).says
    assert page.counter.check_in(book).says == "Returned: send to CUHK"
    assert page.lenders["CUHK"].heard[-1] == "ItemShipped"
    assert page.catalogue.record(reader).due == {}


def test_book_drop_does_not_end_an_hkall_loan(page: Page) -> None:
    """R17. Loan and fine continue until the counter has the book; staff may backdate the return."""
    reader = page.reader()
    book, late = page.lent(reader), page.lent(reader)
    page.clock("2017-03-16 22:00:00")
    for dropped in (book, late):
        screen = page.bookdrop.check_in(dropped)
        assert screen.says == "Not returned. HKALL books must go to the Lending Services counter (R17)"
    page.clock("2017-03-18 10:00:00")
    assert page.staff("flagged").count("HKALL_IN_BOOKDROP") == 2
    assert page.counter.check_in(late).says == "Returned: send to CUHK. Fine HKD 4.00"
    page.staff(f'request return {book.barcode} --on 2017-03-16 --reason "found in the drop"')
    assert page.catalogue.record(reader).owed_cents == 400


def test_book_in_the_book_drop_causes_no_overdue_letter(page: Page) -> None:
    """R17, R39. Letters are withheld after the scan in the drop; the counter must complete the return."""
    reader = page.reader()
    book = page.lent(reader)
    page.clock("2017-03-16 22:00:00")
    page.bookdrop.check_in(book)
    page.clock("2017-03-20 10:00:00")
    assert page.letters_to(reader) == []


# ---- Loan quotas and loan periods


@pytest.mark.parametrize("category", CATEGORIES)
def test_maximum_number_of_books_depends_on_the_category(page: Page, category: str) -> None:
    """R18, R20. The last book within the maximum is granted, the next one is refused."""
    reader, most = page.reader(category, study_mode="full_time"), CATEGORIES[category][QUOTA]
    *within, last, beyond = page.titles(most + 1)
    for title in within:
        page.requested(reader, title)
    assert page.counter.request(reader, last).ok
    assert page.counter.request(reader, beyond).says == f"You have all the {most} HKALL books that you may have (R20)"
    assert page.catalogue.request(reader, beyond).rule == "R20"


@pytest.mark.parametrize("category", CATEGORIES)
def test_loan_period_in_calendar_days_depends_on_the_category(page: Page, category: str) -> None:
    """R19. The day of the checkout is day 0; the terminal and the record show the same due date."""
    reader, days = page.reader(category, study_mode="full_time"), CATEGORIES[category][DAYS]
    book = page.arrived(reader)
    due = {15: date(2017, 3, 16), 30: date(2017, 3, 31)}[days]
    assert page.counter.check_out(reader, book).due == due
    assert page.catalogue.record(reader).due == {book.barcode: due}


@pytest.mark.parametrize(("lent_at", "due"), [("2017-03-01 23:59:59", 16), ("2017-03-02 00:00:00", 17)])
def test_loan_period_starts_on_the_hong_kong_date(page: Page, lent_at: str, due: int) -> None:
    """R19. A book lent one second later is due one day later."""
    reader = page.reader()
    page.clock(lent_at)
    assert page.counter.check_out(reader, page.arrived(reader)).due == date(2017, 3, due)


def test_due_date_on_a_closed_day_moves_to_the_next_open_day(page: Page) -> None:
    """R19. Our choice, since the page does not say: the counter must be open, because the book drop is not for HKALL books."""
    page.close_library("2017-03-16", "2017-03-17")
    reader = page.reader()
    assert page.counter.check_out(reader, page.arrived(reader)).due == date(2017, 3, 18)


def test_loan_period_does_not_depend_on_the_lenders_due_date(page: Page) -> None:
    """R19. An earlier date of the lender is shown to staff, and does not shorten the loan."""
    reader = page.reader()
    book = page.arrived(reader, due="2017-03-10")
    assert page.counter.check_out(reader, book).due == date(2017, 3, 16)


def test_hkall_books_count_towards_the_hku_library_quota(page: Page) -> None:
    """R20, R21. With 59 of 60 places used by local loans, one HKALL book is granted and the next refused."""
    reader, wanted = page.reader(local_loans=59), page.title()
    book = page.lent(reader)
    assert page.counter.request(reader, wanted).says == "You have all the 60 books that you may have (R21)"
    assert page.catalogue.request(reader, wanted).rule == "R21"
    assert page.counter.check_in(book).ok
    assert page.catalogue.request(reader, wanted).ok


@pytest.mark.parametrize(("category", "places"), [("undergraduates", 60), ("postgraduates", 120), ("academic_staff", 200)])
def test_maximum_is_limited_by_the_library_quota_of_the_category(page: Page, category: str, places: int) -> None:
    """R21. Even below the HKALL maximum; the local system reports the patron's total quota."""
    full, beyond = (page.reader(category, total_quota=places, local_loans=taken) for taken in (places - 1, places))
    title = page.title(CUHK=SHELF, LU=SHELF)
    assert page.catalogue.request(full, title).ok
    refused = page.counter.request(beyond, title)
    assert refused.says == f"You have all the {places} books that you may have (R21)"


def test_quota_is_checked_again_at_checkout(page: Page) -> None:
    """R21. A patron whose quota was used up meanwhile gets the HKALL book only after returning another."""
    reader = page.reader(local_loans=59)
    book = page.arrived(reader)
    page.change(reader, local_loans=60)
    assert page.counter.check_out(reader, book).says == "You have all the 60 books that you may have (R21)"
    page.change(reader, local_loans=59)
    assert page.counter.check_out(reader, book).ok
