"""Overdue notices and fines, loss and damage, and the content of letters."""

from __future__ import annotations

import re

import pytest

from tests.published.page import AUTHOR, SHELF, Page
from tests.published.table import CATEGORIES, DAYS

# ---- Overdues and fines


def test_overdue_notice_is_sent_to_all_categories_as_soon_as_the_loan_period_expires(page: Page) -> None:
    """R39. At the first second of the next day, and once."""
    readers = {category: page.reader(category, study_mode="full_time") for category in CATEGORIES}
    for reader in readers.values():
        page.lent(reader)
    for days, last, next_day in ((15, "2017-03-16", "2017-03-17"), (30, "2017-03-31", "2017-04-01")):
        late = [reader for category, reader in readers.items() if CATEGORIES[category][DAYS] == days]
        page.clock(f"{last} 23:59:59")
        assert [page.letters_to(reader) for reader in late] == [[]] * len(late)
        page.clock(f"{next_day} 00:00:00")
        subjects = [[letter.subject.partition(":")[0] for letter in page.letters_to(reader)] for reader in late]
        assert subjects == [["Overdue"]] * len(late)
    page.clock("2017-04-05 10:00:00")
    assert [page.letters_to(reader) for reader in readers.values()] == [[]] * len(readers)


def test_overdue_notice_states_item_due_date_and_daily_fine(page: Page) -> None:
    """R39, R40. A recalled book has the higher rate."""
    reader, other = page.reader(), page.reader()
    book, recalled = page.lent(reader), page.lent(other)
    page.lenders["CUHK"].recalls(recalled)
    page.letters_to(other)
    page.clock("2017-03-17 00:00:00")
    (letter,), (higher,) = page.letters_to(reader), page.letters_to(other)
    assert letter.subject == f"Overdue: {book.title}"
    assert "due on Thursday 16 March 2017" in letter.text
    assert "costs HK$2.00" in letter.text
    assert "costs HK$4.00" in higher.text


@pytest.mark.parametrize(
    ("returned", "fine"),
    [
        ("2017-03-16 23:59:59", ""),
        ("2017-03-17 00:00:01", " Fine HKD 2.00"),
        ("2017-03-17 23:59:59", " Fine HKD 2.00"),
        ("2017-03-18 00:00:00", " Fine HKD 4.00"),
        ("2017-03-19 12:00:00", " Fine HKD 6.00"),
    ],
)
def test_overdue_item_is_fined_two_dollars_per_calendar_day(page: Page, returned: str, fine: str) -> None:
    """R40. The due date itself is free, to its last second; the screen shows the amount."""
    book = page.lent(page.reader())
    page.clock(returned)
    assert page.counter.check_in(book).says == f"Returned: send to CUHK{'.' if fine else ''}{fine}"


def test_items_are_fined_separately_and_closed_days_count(page: Page) -> None:
    """R40. Three books three days late, over a weekend on which the library was closed."""
    reader = page.reader()
    books = [page.lent(reader) for _ in range(3)]
    page.close_library("2017-03-18", "2017-03-19")
    page.clock("2017-03-19 12:00:00")
    for book in books:
        assert page.counter.check_in(book).says.endswith("Fine HKD 6.00")
    assert page.catalogue.record(reader).owed_cents == 1800


@pytest.mark.parametrize(
    ("category", "recalled", "returned", "fine"),
    [
        ("postgraduates", "2017-03-21", "2017-03-31", "12.00"),  # due on the 28th since the recall
        ("undergraduates", "2017-03-04", "2017-03-18", "8.00"),  # the recall did not move the due date
        ("undergraduates", "2017-03-20", "2017-03-23", "20.00"),  # four days before and on the recall's day, three after
        ("undergraduates", "2017-03-18", "2017-03-18", "4.00"),  # the day of the recall costs the lower rate
    ],
)
def test_recalled_item_is_fined_four_dollars_per_calendar_day(
    page: Page, category: str, recalled: str, returned: str, fine: str
) -> None:
    """R41. From the day after the recall on, whether it shortened the loan or not."""
    book = page.lent(page.reader(category))
    page.clock(f"{recalled} 10:00:00")
    assert page.lenders["CUHK"].recalls(book).ok
    page.clock(f"{returned} 12:00:00")
    assert page.counter.check_in(book).says.endswith(f"Fine HKD {fine}")


def test_letter_about_a_recall_of_an_overdue_item_agrees_with_the_fine(page: Page) -> None:
    """R24, R41. The higher rate begins tomorrow, as the letter says."""
    reader = page.reader()
    book = page.lent(reader)
    page.clock("2017-03-18 10:00:00")
    page.letters_to(reader)
    page.lenders["CUHK"].recalls(book)
    (letter,) = page.letters_to(reader)
    assert "Please return it at once" in letter.text
    assert re.search(r"(?i)from tomorrow\b.*HK\$4\.00", letter.text)


@pytest.mark.parametrize("address", ["", "nobody"])
def test_current_email_address_is_the_users_responsibility(page: Page, address: str) -> None:
    """R42. Without one the book still waits five days, is lent and falls due; staff see the undelivered letters."""
    reader = page.reader(email=address)
    book = page.arrived(reader)
    assert "no address" in page.staff("notices")
    page.clock("2017-03-07 00:00:00")
    assert book.barcode in page.staff("expired-pickups")
    assert page.counter.check_out(reader, book).ok
    page.clock("2017-03-25 10:00:00")
    assert page.counter.check_in(book).says.endswith("Fine HKD 6.00")


# ---- Loss and damage


def test_taking_a_book_overseas_requires_permission(page: Page) -> None:
    """R43. The gateway cannot enforce it: the letter states it, and a permission is recorded."""
    reader = page.reader()
    book = page.arrived(reader)
    (letter,) = page.letters_to(reader)
    assert "No HKALL book may be taken overseas unless the library that lends it has agreed beforehand." in letter.text
    assert page.counter.check_out(reader, book).ok
    assert book.barcode in page.staff(f'request overseas {book.barcode} --on 2017-03-14 --reason "CUHK agreed by telephone"')


def test_lost_book_is_charged_by_the_lenders_own_policy(page: Page) -> None:
    """R44, R45. Lingnan charges the replacement price plus HK$100; other libraries in this test only the price."""
    reader = page.reader()
    book, other = page.lent(reader, page.title(LU=SHELF)), page.lent(reader)
    page.staff(f"request lost {book.barcode} --cents 40000")
    assert page.catalogue.record(reader).owed_cents == 50000
    page.staff(f"request lost {other.barcode} --cents 40000")
    assert page.catalogue.record(reader).owed_cents == 90000
    assert "CirculationStatusChangeReported" in page.lenders["LU"].heard


def test_lost_book_without_a_price_is_flagged_and_charged_once_the_price_is_known(page: Page) -> None:
    """R44, R45. The charge is not forgotten while the lender's price is missing."""
    reader = page.reader()
    book = page.lent(reader)
    assert "no price is known" in page.staff(f"request lost {book.barcode}")
    assert book.barcode in page.staff("flagged")
    page.staff(f"request lost {book.barcode} --cents 40000")
    assert page.catalogue.record(reader).owed_cents == 40000


def test_users_are_responsible_for_damage_until_the_book_is_back_at_its_owner(page: Page) -> None:
    """R44, R45. Even if the damage is found after the check-in at the counter."""
    reader = page.reader()
    book = page.lent(reader)
    assert page.counter.check_in(book).ok
    page.staff(f"request damaged {book.barcode} --cents 5000")
    assert page.catalogue.record(reader).owed_cents == 5000


# ---- The letters of all statements


@pytest.mark.parametrize("letter", ["Ready for you", "Recalled by its library", "Overdue"])
def test_every_letter_about_a_book_identifies_it_and_says_where_to_return_it(page: Page, letter: str) -> None:
    """R12, R16, R17, R24, R39. Title, author, barcode, its library, the counter, and not the book drop."""
    reader = page.reader()
    book = page.arrived(reader)
    assert page.counter.check_out(reader, book).ok
    page.clock("2017-03-02 10:00:00")
    page.lenders["CUHK"].recalls(book)
    page.clock("2017-03-17 10:00:00")
    text = next(one.text for one in page.letters_to(reader) if one.subject.startswith(letter))
    library = "The Chinese University of Hong Kong Library"
    wanted = (book.title, AUTHOR, book.barcode, library, "Lending Services counter", "book drop")
    assert [words for words in wanted if words not in text] == []
