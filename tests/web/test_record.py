"""/record: a patron's loans and requests and the actions allowed now; no ended requests, no data of other patrons."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from lxml import html
from sqlalchemy import delete
from structlog.testing import capture_logs

from hkall_gateway.db import fines
from hkall_gateway.db.loads import loading
from hkall_gateway.db.loads.former_cards import follow_card
from hkall_gateway.db.tables import PATRONS
from hkall_gateway.rules.stored_words import RenewalSync
from hkall_gateway.rules.vocabulary import Actor, Position
from hkall_gateway.simulator.scenario.world import World
from tests.web.conftest import WORLD, Browser, Site
from tests.web.given import given, position_of

P = Position
CASHIER = Actor(who="test", channel="world")
Open = Callable[[str], Site]


@pytest.fixture
def at() -> Iterator[Open]:
    """A site of a world by its file's name."""
    worlds: list[World] = []

    def opened(name: str) -> Site:
        worlds.append(World.open(Path(WORLD).with_name(f"{name}.toml")))
        return Site(worlds[-1])

    yield opened
    for world in worlds:
        world.close()


def row(browser: Browser, number: str, path: str = "/record", language: str = "en") -> str:
    """The row of a request as text, with its button labels; "" if the record has none."""
    page = html.fromstring(browser.get(path, headers={"Accept-Language": language}).text)
    found = page.xpath(f"//main//tr[@data-request='{number}']")
    return " ".join(found[0].xpath("string()").split()) if found else ""


def main(browser: Browser, path: str = "/record") -> str:
    return " ".join(html.fromstring(browser.get(path).text).xpath("string(//main)").split())


def press(browser: Browser, what: str, **fields: str) -> tuple[int, str]:
    answer = browser.post(f"/record/{what}", at="/logout", **fields)
    return answer.status_code, answer.location or " ".join(html.fromstring(answer.text).xpath("string(//main)").split())


# ---- requests


@pytest.mark.parametrize(
    ("position", "label", "words"),
    [
        (P.NEW, "HKALL REQUESTD", "No library is asked yet"),
        (P.REQUESTED, "HKALL REQUESTD", "The Chinese University of Hong Kong Library is asked"),
        (P.IN_TRANSIT, "TRANSFERRED", "On its way from The Chinese University of Hong Kong Library"),
        (P.RECEIVED, "HKALL RECVD", "Collect by 6 March 2017 (Monday) at HKU-MAIN-LENDING"),
    ],
)
def test_request_shows_the_status_word_of_the_published_page(site: Site, position: Position, label: str, words: str) -> None:
    facts = {"partner": "", "wire_id": ""} if position is P.NEW else {}
    given(site, position, "R-1", received_on=date(2017, 3, 1), pickup_last=date(2017, 3, 6), **facts)
    shown = row(site.patron(), "R-1")
    assert "Title of R-1" in shown
    assert label in shown
    assert words in shown


@pytest.mark.parametrize(("position", "may"), [(P.NEW, True), (P.REQUESTED, True), (P.IN_TRANSIT, False), (P.RECEIVED, False)])
def test_cancel_button_or_its_reason_follows_the_rules(site: Site, position: Position, *, may: bool) -> None:
    given(site, position, "R-1", pickup_last=date(2017, 3, 6))
    shown = row(site.patron(), "R-1")
    assert ("Cancel request" in shown, "Can no longer be cancelled" in shown, "R34" in shown) == (may, not may, not may)


def test_cancelled_request_can_be_cancelled_again_without_effect(site: Site) -> None:
    given(site, P.REQUESTED, "R-1")
    browser = site.patron()
    assert press(browser, "cancel", request="R-1") == (303, "/record?cancelled=1")
    assert position_of(site, "R-1") == "CANCELLING"
    assert "HKALL CANCL'D" in row(browser, "R-1")
    assert "The request is cancelled." in main(browser, "/record?cancelled=1")
    assert press(browser, "cancel", request="R-1")[0] == 303


def test_shipped_request_is_not_cancelled(site: Site) -> None:
    given(site, P.IN_TRANSIT, "R-1")
    code, text = press(site.patron(), "cancel", request="R-1")
    assert code == 409
    assert "Can no longer be cancelled. R34" in text
    assert position_of(site, "R-1") == "IN_TRANSIT"


def test_last_day_ends_at_midnight(at: Open) -> None:
    site = at("on-the-shelf")
    site.wait(days=5)
    assert "Collect by 11 March 2017 (Saturday)" in row(site.patron(), "R1")
    site.wait(days=1)
    assert "The last day to collect it is over." in row(site.patron(), "R1")


# ---- loans


def test_loan_shows_due_date_remaining_renewals_and_library(at: Open) -> None:
    shown = row(at("on-loan").patron(), "R1")
    assert "Dune" in shown
    assert "16 March 2017 (Thursday)" in shown
    assert "from The Chinese University of Hong Kong Library" in shown


@pytest.mark.parametrize(
    ("day", "words"), [(8, "Can be renewed from 9 March 2017 (Thursday) on. R29"), (9, "Renew"), (16, "Renew")]
)
def test_renew_button_or_its_reason_follows_the_rules(at: Open, day: int, words: str) -> None:
    site = at("on-loan")
    site.world.go_to(site.world.now.replace(day=day, hour=10))
    shown = row(site.patron(), "R1")
    assert shown.endswith(words)


def test_renewal_moves_the_due_date_once_and_shows_it(at: Open) -> None:
    site = at("on-loan")
    site.world.go_to(site.world.now.replace(day=10))
    browser = site.patron()
    assert press(browser, "renew", request="R1") == (303, "/record?renewed=R1")
    assert press(browser, "renew", request="R1") == (303, "/record?renewed=R1")  # a doubled click
    due = site.world.request("R1").due
    assert due == date(2017, 3, 25)
    assert site.world.request("R1").renewals == 1
    assert "Renewed: due on 25 March 2017 (Saturday)." in main(browser, "/record?renewed=R1")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({"renewals": 2}, "Renewed 2 times already. R27"),
        ({"recalled_on": date(2017, 3, 8)}, "Its library needs it back: recalled books are not renewed. R28"),
        ({"renewal_sync": RenewalSync.PENDING, "due_asked": date(2017, 3, 31)}, "The lending library is asked"),
        ({"renewal_sync": RenewalSync.DENIED}, "Its library does not renew it. R28"),
    ],
)
def test_unrenewable_loan_shows_its_reason(site: Site, facts: dict[str, Any], words: str) -> None:
    site.world.go_to(site.world.now.replace(day=10))
    given(site, P.ON_LOAN, "R-1", **{"due": date(2017, 3, 16), "loan_days": 15, "used": True, **facts})
    browser = site.patron()
    assert row(browser, "R-1").endswith(words)
    before = site.world.request("R-1")
    press_anyway = browser.send("/record/renew", csrf_token=_token(browser), request="R-1")
    assert press_anyway.status_code in (303, 409)
    assert site.world.request("R-1").due == before.due


def _token(browser: Browser) -> str:
    return str(html.fromstring(browser.get("/logout").text).xpath("//main//input[@name='csrf_token']/@value")[0])


def test_recalled_and_overdue_loans_show_their_fine_to_date(site: Site) -> None:
    given(site, P.ON_LOAN, "R-1", due=date(2017, 2, 26), loan_days=15, used=True)
    given(site, P.ON_LOAN, "R-2", due=date(2017, 3, 9), recalled_on=date(2017, 2, 28), loan_days=15, used=True)
    browser = site.patron()
    assert "Fine until today: HK$6.00 R40" in row(browser, "R-1")
    assert "Recalled by its library" in row(browser, "R-2")


def test_book_said_to_be_returned_is_neither_renewed_nor_fined_any_longer(site: Site) -> None:
    given(site, P.ON_LOAN, "R-1", due=date(2017, 2, 22), loan_days=15, used=True, claimed_on=date(2017, 2, 25))
    browser = site.patron()
    text = row(browser, "R-1")
    assert "It is said to be returned, so it cannot be renewed." in text
    assert "Fine until 25 February 2017 (Saturday): HK$6.00 R40" in text
    assert "until today" not in text
    assert "does not renew it" not in text


def test_record_marks_a_lost_item(site: Site) -> None:
    given(site, P.ON_LOAN, "R-1", due=date(2017, 3, 9), loan_days=15, used=True, lost_on=date(2017, 3, 1))
    assert "It is lost, so it cannot be renewed." in row(site.patron(), "R-1")
    assert "does not renew" not in main(site.patron())


def test_record_says_when_an_accruing_fine_is_due(site: Site) -> None:
    browser = site.patron()
    assert "Fines Nothing to pay." in main(browser)
    given(site, P.ON_LOAN, "R-1", due=date(2017, 2, 26), loan_days=15, used=True)
    assert "Fines Nothing to pay yet. A fine is charged when the book is back." in main(browser)


def test_renew_all_renews_eligible_loans_and_gives_reasons_for_the_rest(at: Open) -> None:
    site = at("two-loans")
    site.world.go_to(site.world.now.replace(day=10))
    given(site, P.ON_LOAN, "R-9", due=date(2017, 4, 20), loan_days=15, used=True)
    browser = site.patron()
    code, where = press(browser, "renew-all")
    assert (code, where) == (303, "/record?renewed=R1&renewed=R2")
    assert "2 books are renewed." in main(browser, where)
    assert "Can be renewed from 13 April 2017 (Thursday) on." in row(browser, "R-9", where)


def test_renew_all_is_offered_only_when_a_loan_can_be_renewed(at: Open) -> None:
    site = at("two-loans")
    assert "Renew all" not in main(site.patron())
    site.world.go_to(site.world.now.replace(day=10))
    assert "Renew all" in main(site.patron())


# ---- fines


def test_each_fine_has_a_row_with_the_total_below(site: Site) -> None:
    for number, cents in (("R-1", 400), ("R-2", 1250)):
        loan = given(site, P.CLOSED, number, used=True)
        site.world.store.now(
            lambda unit: fines.charge(unit, loan, "overdue", cents, "R40", site.world.now, CASHIER)  # noqa: B023  # it runs at once
        )
    browser = site.patron()
    assert "Overdue fine" in row(browser, "R-1")
    assert "HK$4.00" in row(browser, "R-1")
    assert "HK$12.50" in row(browser, "R-2")
    assert "In all HK$16.50." in main(browser)


# ---- nothing of the past, nothing of others


@pytest.mark.parametrize("position", [P.TO_RETURN, P.RETURN_TRANSIT, P.CLOSED, P.CANCELLED, P.UNFILLED])
def test_completed_requests_are_not_in_the_record(site: Site, position: Position) -> None:
    given(site, position, "R-1", used=True)
    assert "Title of R-1" not in site.patron().get("/record").text


def test_unused_returned_item_is_not_in_the_record(site: Site) -> None:
    given(site, P.RECEIVED, "R-1", unwanted=True)
    assert row(site.patron(), "R-1") == ""


def test_record_of_another_patron_cannot_be_seen_or_changed(site: Site) -> None:
    given(site, P.REQUESTED, "R-1")
    given(site, P.ON_LOAN, "R-2", due=date(2017, 3, 5), loan_days=15, used=True)
    other = site.patron("UG2")
    assert "Title of" not in other.get("/record?placed=R-1&renewed=R-2").text
    assert press(other, "cancel", request="R-1")[0] == 404
    assert press(other, "renew", request="R-2")[0] == 404
    assert press(other, "renew-all")[0] == 303
    assert (position_of(site, "R-1"), site.world.request("R-2").renewals) == ("REQUESTED", 0)
    assert "books" not in main(other, "/record?renewed=R-2")


@pytest.mark.parametrize("what", ["cancel", "renew"])
@pytest.mark.parametrize("number", ["", "R-404", "x" * 9_000, "%00", "R-1' OR 1=1"])
def test_unknown_request_number_is_not_found(site: Site, what: str, number: str) -> None:
    given(site, P.REQUESTED, "R-1")
    assert press(site.patron(), what, request=number)[0] == 404


@pytest.mark.parametrize("what", ["cancel", "renew", "renew-all"])
def test_visitors_and_staff_are_redirected_to_the_login(site: Site, what: str) -> None:
    given(site, P.REQUESTED, "R-1")
    for browser, page in ((site.browser(), "/login"), (site.staff(), "/staff/")):
        answer = browser.post(f"/record/{what}", at=page, request="R-1")
        assert (answer.status_code, answer.location) == (
            303,
            "/login?next=/record",
        )  # a POST cannot be repeated after the login
    assert position_of(site, "R-1") == "REQUESTED"


@pytest.mark.parametrize("what", ["cancel", "renew", "renew-all"])
def test_form_without_a_csrf_token_does_nothing(site: Site, what: str) -> None:
    given(site, P.REQUESTED, "R-1")
    assert site.patron().send(f"/record/{what}", request="R-1").status_code == 400
    assert position_of(site, "R-1") == "REQUESTED"


def test_urls_and_log_contain_no_name_card_or_title(site: Site) -> None:
    given(site, P.REQUESTED, "R-1")
    browser = site.patron()
    with capture_logs() as lines:
        text = browser.get("/record").text
        _, where = press(browser, "cancel", request="R-1")
    addresses = html.fromstring(text).xpath("//@href | //@action | //@src")
    for secret in ("UG1", "Chan", "Title of"):
        assert secret not in " ".join([*addresses, where])
        assert secret not in str([line for line in lines if line["event"].startswith("web.")])


def test_card_replacement_ends_the_session(site: Site) -> None:
    """The session may belong to a person who has the old card."""
    given(site, P.REQUESTED, "R-1")
    browser = site.patron()
    site.world.store.now(renumber, "UG1", "UG1-NEW", site.world.now)
    assert browser.get("/record").headers["Location"] == "/login?next=/record"


def renumber(unit: Any, card: str, present: str, now: datetime) -> None:
    known = unit.patrons.find(card)
    number = loading.begin(unit, "patrons")
    loading.write(unit, "patrons", [replace(known, barcode=present)], number)
    unit.execute(delete(PATRONS).where(PATRONS.c.barcode == card))
    follow_card(unit, card, present, now, CASHIER)


# ---- the library's own system


def test_unavailable_local_system_is_reported_beside_the_record(at: Open) -> None:
    site = at("living-system-or-nothing")
    browser = site.patron()
    assert "HKALL RECVD" in row(browser, "R1")
    site.world.ils.state = "away"
    site.wait(minutes=1)
    assert "HKALL RECVD" in row(browser, "R1")
    assert "The library's own system does not answer just now." in main(browser)


@pytest.mark.parametrize("world", ["living-system", "living-system-ncip"])
def test_own_loans_are_listed_when_the_local_system_provides_them(at: Open, world: str) -> None:
    site = at(world)
    text = main(site.patron())
    assert "From our own shelves" in text
    assert "Persuasion" in text
    assert "Emma" not in text
    site.world.ils.books = {barcode: book for barcode, book in site.world.ils.books.items() if book.reader != "UG2"}
    assert "From our own shelves" not in main(site.patron("UG2"))


def test_own_loans_are_queried_once_and_discarded_at_logout(at: Open) -> None:
    site = at("living-system")

    def asked() -> int:
        return sum(line.startswith("17") for line in site.world.ils.heard)

    browser = site.patron()
    assert all("Persuasion" in main(browser) for _ in range(3))
    assert asked() == 1
    browser.post("/logout", at="/record")
    assert "Persuasion" in main(site.patron())
    assert asked() == 2


def test_loaded_local_system_provides_no_own_loans(site: Site) -> None:
    assert "From our own shelves" not in main(site.patron())


def test_record_is_available_in_both_languages(site: Site) -> None:
    given(site, P.RECEIVED, "R-1", pickup_last=date(2017, 3, 6))
    assert "2017年3月6日（星期一）" in row(site.patron(), "R-1", language="zh-Hant")


# ---- the title page of a patron who is logged in


def test_title_page_says_why_and_until_when_instead_of_a_button_that_would_refuse(at: Open) -> None:
    site = at("consortium")
    for number in range(15):
        given(site, P.ON_LOAN, f"R-{number}", due=date(2017, 3, 16 + number), item_barcode=f"L{number}")
    stranger = site.browser().get("/title/b-dune").text
    assert "Request this title" in stranger

    page = main(site.patron(), "/title/b-dune")

    assert "Request this title" not in page
    assert "You have all the 15 HKALL books that you may have" in page
    assert "Your first book is due on 16 March 2017" in page
