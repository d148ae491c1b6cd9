"""Who may borrow, what can be requested, and how: the first part of the page."""

from __future__ import annotations

import re
from datetime import date

import pytest

from tests.published.page import SHELF, STAGES, WITH_US, Page
from tests.published.premises import LENDERS
from tests.published.records import PIN, Reader
from tests.published.table import CATEGORIES

# ---- New Library System in July 2017


@pytest.mark.parametrize(
    ("when", "taken"),
    [
        ("2017-06-05 23:59:59", True),
        ("2017-06-06 00:00:00", False),
        ("2017-07-17 23:59:59", False),
        ("2017-07-18 00:00:00", True),
    ],
)
def test_requests_are_suspended_from_6_june_to_17_july_with_reference_to_interlibrary_loans(
    page: Page, when: str, taken: bool
) -> None:
    """R1. The suspension includes both days, to the second in Hong Kong; terminal and catalogue say the same."""
    page.clock(when)
    reader = page.reader()
    online, screen = page.catalogue.request(reader, page.title()), page.counter.request(reader, page.title())
    assert (online.ok, screen.ok) == (taken, taken)
    if not taken:
        assert "use Interlibrary Loans Services" in online.says
        assert screen.says == "HKALL is suspended until 2017-07-17: use Interlibrary Loans Services (R1)"


def test_other_services_continue_during_the_suspension(page: Page) -> None:
    """R1. Only requests are suspended."""
    page.clock("2017-06-05 15:00:00")
    reader = page.reader()
    book = page.coming(reader, due="2017-08-31")
    page.clock("2017-06-07 10:00:00")
    assert page.counter.check_in(book).ok
    assert page.counter.check_out(reader, book).due == date(2017, 6, 22)
    page.clock("2017-06-16 10:00:00")
    assert page.catalogue.renew(reader, book).due == date(2017, 7, 1)
    assert page.counter.check_in(book).ok


def test_no_further_lender_is_asked_during_the_suspension(page: Page) -> None:
    """R1. A request declined by its lender waits until the suspension ends."""
    page.clock("2017-06-05 15:00:00")
    title = page.requested(page.reader(), page.title(CUHK=SHELF, HKUST=SHELF))
    page.clock("2017-06-06 10:00:00")
    page.lenders["CUHK"].cancels(title.at("CUHK"))
    page.clock("2017-07-17 23:59:59")
    assert page.lenders["HKUST"].heard == []
    page.clock("2017-07-18 09:00:00")
    assert page.lenders["HKUST"].heard == ["RequestItem"]


# ---- Who may borrow, and from whom


def test_students_and_staff_of_hku_and_of_hku_space_may_borrow(page: Page) -> None:
    """R2. The twelve categories of the table."""
    for category in CATEGORIES:
        assert page.catalogue.request(page.reader(category, study_mode="full_time"), page.title()).ok, category


@pytest.mark.parametrize("category", ["space_cdp", "space_community_college"])
def test_only_full_time_hku_space_students_may_borrow(page: Page, category: str) -> None:
    """R2. A student whose study mode is unknown is referred to the counter."""
    part_time, unknown = page.reader(category, study_mode="part_time"), page.reader(category)
    assert page.counter.request(part_time, page.title()).says == "Part-time HKU SPACE students may not use HKALL (R2)"
    assert page.counter.request(unknown, page.title()).says.endswith("is not known. Please ask at the counter (R2)")
    assert not page.catalogue.request(part_time, page.title()).ok
    assert not page.catalogue.request(unknown, page.title()).ok


def test_part_time_tutors_of_hku_space_may_borrow(page: Page) -> None:
    """R2. They are staff: the full-time condition is for students."""
    assert page.catalogue.request(page.reader("space_non_academic_staff", study_mode="part_time"), page.title()).ok


def test_other_categories_may_not_borrow(page: Page) -> None:
    """R2. Patrons in none of the twelve categories, and expired, blocked or unknown cards, are refused."""
    page.clock("2017-03-06 10:00:00")
    said = {
        "alumni": page.counter.request(page.reader("alumni"), page.title()).says,
        "expired": page.counter.request(page.reader(expires="2017-03-05"), page.title()).says,
        "blocked": page.counter.request(page.reader(blocked="yes"), page.title()).says,
        "unknown": page.counter.request(Reader("NOBODY", ""), page.title()).says,
    }
    assert said == {
        "alumni": "Your card may not use HKALL (R2)",
        "expired": "Your card expired on 2017-03-05 (R2)",
        "blocked": "Your card is blocked. Please ask at the counter (R2)",
        "unknown": "This card is not known. Please ask at the counter (R2)",
    }
    assert page.catalogue.request(page.reader(expires="2017-03-06"), page.title()).ok


def test_books_come_from_the_other_seven_libraries(page: Page) -> None:
    """R3. Each of them is asked for a title that only it holds."""
    reader = page.reader()
    for library in LENDERS:
        page.requested(reader, page.title(**{library: SHELF}))
    assert [page.lenders[library].heard for library in LENDERS] == [["RequestItem"]] * 7


def test_our_own_library_is_never_the_lender(page: Page) -> None:
    """R3, R7. A title that only HKU holds, and has lent, cannot be requested."""
    assert page.catalogue.request(page.reader(), page.title(HKU="On Loan")).rule == "R7"


def test_books_are_delivered_to_the_lending_services_counter(page: Page) -> None:
    """R4. The request names it to the lender; no other location is offered."""
    reader = page.reader()
    page.requested(reader)
    (asked,) = page.lenders["CUHK"].documents
    assert asked.text("PickupLocation") == "HKU-MAIN-LENDING"
    assert page.catalogue.request(reader, page.title(), "pickup=HKU-LAW").rule == "R4"


# ---- What can be requested


def test_only_books_can_be_requested(page: Page) -> None:
    """R5. A film on the shelf of another library cannot be requested."""
    reader, film = page.reader(), page.title("dvd", CUHK=SHELF)
    assert page.catalogue.request(reader, film).rule == "R5"
    assert page.counter.request(reader, film).says == "Only books can be requested (R5)"


def test_book_available_in_hku_libraries_cannot_be_requested(page: Page) -> None:
    """R6. A book that HKU has lent out can be requested."""
    reader = page.reader()
    here = page.title(HKU=SHELF, CUHK=SHELF)
    assert page.catalogue.request(reader, here).rule == "R6"
    assert page.counter.request(reader, here).says == "A copy is on the shelf in our own library (R6)"
    assert page.catalogue.request(reader, page.title(HKU="On Loan", CUHK=SHELF)).ok


def test_book_available_in_any_other_library_can_be_requested(page: Page) -> None:
    """R7. One available item is enough; without one there is no queue."""
    reader, six = page.reader(), dict.fromkeys(LENDERS[:6], "On Loan")
    page.requested(reader, page.title(**six, EDUHK=SHELF))
    assert page.lenders["EDUHK"].heard == ["RequestItem"]
    nowhere = page.title(**six, EDUHK="On Loan")
    assert page.catalogue.request(reader, nowhere).rule == "R7"
    assert page.counter.request(reader, nowhere).says == "No library has a copy to lend now (R7)"
    assert page.catalogue.record(reader).status.keys().isdisjoint({nowhere.name})


@pytest.mark.parametrize("word", ["AVAILABLE", "Available", "available on shelf"])
def test_status_available_is_recognised_as_spelled_on_the_page(page: Page, word: str) -> None:
    """R6, R7. At another library it makes a title requestable, at HKU it does not."""
    reader = page.reader()
    assert page.catalogue.request(reader, page.title(CUHK=word)).ok
    assert page.catalogue.request(reader, page.title(HKU=word, CUHK=SHELF)).rule == "R6"


@pytest.mark.parametrize("where", WITH_US)
def test_book_borrowed_for_another_patron_is_not_available(page: Page, where: str) -> None:
    """R7, R22. This holds in transit, on the hold shelf and on loan; the terminal says the same."""
    title = page.title()
    STAGES[where](page, page.reader(), title)
    other = page.reader()
    online, screen = page.catalogue.request(other, title), page.counter.request(other, title)
    assert (online.ok, screen.ok) == (False, False)
    assert online.rule in {"R7", "R22"}
    assert re.search(r"\((R7|R22)\)$", screen.says)


# ---- How to make a request


def test_patron_requests_a_title_and_the_system_chooses_the_item(page: Page) -> None:
    """R8. The patron names the title; the first library in order is asked for its available item."""
    title = page.requested(page.reader(), page.title(CUHK="On Loan", HKUST=SHELF, LU=SHELF))
    (asked,) = page.lenders["HKUST"].documents
    assert asked.text("ItemId/ItemIdentifierValue") == title.at("HKUST").barcode


def test_request_is_sent_after_the_patron_is_authenticated(page: Page) -> None:
    """R10. With a wrong PIN no request is sent or recorded, online and at a terminal."""
    reader, title = page.reader(), page.title()
    assert page.catalogue.request(reader, title, pin="9999").rule == "R10"
    assert page.counter.request(reader, title, pin="9999").says == "The PIN is missing or wrong (R10)"
    assert (page.lenders["CUHK"].heard, page.catalogue.record(reader).status) == ([], {})
    assert page.catalogue.request(reader, title, pin=PIN).ok
    assert page.lenders["CUHK"].heard == ["RequestItem"]


def test_request_is_sent_to_one_potential_lender_at_a_time(page: Page) -> None:
    """R11. The next lender is asked when the first has declined."""
    title = page.requested(page.reader(), page.title(CUHK=SHELF, HKUST=SHELF))
    assert (page.lenders["CUHK"].heard, page.lenders["HKUST"].heard) == (["RequestItem"], [])
    page.lenders["CUHK"].cancels(title.at("CUHK"))
    assert page.lenders["HKUST"].heard == ["RequestItem"]


def test_patron_can_request_a_title_only_once(page: Page) -> None:
    """R11a. This holds during the request and the loan, and ends with the return."""
    reader, title = page.reader(), page.title(CUHK=SHELF, HKUST=SHELF)
    page.requested(reader, title)
    assert page.catalogue.request(reader, title).rule == "R11a"
    assert page.counter.request(reader, title).says == "You have requested this title already (R11a)"
    book = title.at("CUHK")
    page.lenders["CUHK"].sends(book)
    assert page.counter.check_in(book).ok
    assert page.counter.check_out(reader, book).ok
    assert page.catalogue.request(reader, title).rule == "R11a"
    assert page.counter.check_in(book).ok
    assert page.catalogue.request(reader, title).ok
