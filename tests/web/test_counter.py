"""The counter without detours: what a clerk sees and does in one step."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from lxml import html

from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff import actions
from hkall_gateway.db import fines, quarantine
from hkall_gateway.rules.partners import Charges
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.labels import KEYS, WORDS
from hkall_gateway.web.layout import MENU
from hkall_gateway.web.staff.words import problem
from tests.web.clerk import Clerk
from tests.web.conftest import Site
from tests.web.given import given, position_of, with_copy
from tests.web.test_clerk import loan
from tests.web.test_patrons import owed, owing, page_of
from tests.web.test_scan import scan
from tests.web.test_unsent import BY

P = Position
CHINESE = {"Accept-Language": "zh-Hant"}


def shown(site: Site, path: str, role: str = "clerk", **named: Any) -> Any:
    return html.fromstring(site.staff(role).get(path, **named).text)


def lose(site: Site, number: str) -> None:
    """Mark a loan as lost today."""
    found, today = site.world.request(number), site.world.now.date()
    site.world.store.now(lambda unit: unit.amend(found, site.world.now, BY, lost_on=today))


# ---- the scan station


@pytest.mark.parametrize("card", ["HKUST-INST", "UG1"])
def test_paged_book_under_another_card_names_its_library(site: Site, card: str) -> None:
    given(site, P.PAGED, "R-1")
    clerk = site.staff()
    answer = scan(clerk, "B-R-1", scan(clerk, card))
    assert (answer.outcome, answer.what) == (
        "no",
        "Belongs to CUHK; not in this box",
    )
    assert position_of(site, "R-1") == "PAGED"


def test_checkout_names_overdue_books_that_are_not_lost(site: Site) -> None:
    loan(site, "R-LATE", late=2)
    loan(site, "R-LOST", late=2)
    loan(site, "R-FINE")
    lose(site, "R-LOST")
    assert "Overdue: Title of R-LATE." in scan(site.staff(), "UG1").text


def test_fine_of_a_return_is_taken_beside_it_once(site: Site) -> None:
    loan(site, late=2)
    older = owing(site)
    clerk = Clerk(site)
    clerk.click("Scan")
    clerk.scan("B-R-1")
    form = clerk.page.xpath("//form[button[starts-with(., 'Take HK$')]]")[0]
    fine = site.world.store.now(fines.charges_of, "R-1")[0].cents
    assert form.xpath("string(button)") == f"Take HK${fine / 100:.2f}"
    clerk.press("Take HK$")
    assert f"Taken: HK${fine / 100:.2f}." in clerk.words
    clerk._submit(form, None)  # the browser's "back", and the same button
    assert [one.left_cents for one in site.world.store.now(fines.charges_of, "R-1")] == [0]
    assert [one.left_cents for one in site.world.store.now(fines.charges_of, older)] == [1250]


def test_scan_of_another_session_cannot_be_paid(site: Site) -> None:
    assert site.staff().post("/staff/scan/take", at="/staff/", scan="1").status_code == 404


# ---- declines


@pytest.mark.parametrize("code", ["not_on_shelf", "checked_out_locally", "not_suitable"])
def test_decline_button_stores_its_published_reason(site: Site, code: str) -> None:
    given(site, P.PAGED, "R-1")
    given(site, P.PAGED, "R-2")
    words = {"not_on_shelf": "Not on", "checked_out_locally": "Lent to", "not_suitable": "Not suitable"}[code]
    for number, typed in (("R-1", ""), ("R-2", "banana")):
        clerk = Clerk(site)
        clerk.load(f"/staff/requests/{number}")
        clerk.type("reason", typed)
        clerk.press(words)
        assert site.world.request(number).reason == code


def test_history_says_command_and_reason_in_words(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    clerk = Clerk(site)
    clerk.load("/staff/requests/R-1")
    clerk.press("Not on the shelf")
    newest = clerk.page.xpath("//ol[@class='timeline']/li")[0].xpath("string(.)")
    assert "console, Decline" in newest
    assert "Not found on the shelf" in newest
    assert "not_on_shelf" not in newest


def test_another_reason_needs_words(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    clerk, at = site.staff(), "/staff/requests/R-1"
    newest = str(shown(site, at).xpath("//input[@name='seen']/@value")[0])
    for code in ("", "banana"):
        assert "A reason is needed." in clerk.post(f"{at}/decline", at=at, seen=newest, code=code).text
    assert position_of(site, "R-1") == "PAGED"


# ---- lists


def test_lost_book_is_marked_and_not_overdue(site: Site) -> None:
    loan(site, late=2)
    clerk = site.staff()
    assert html.fromstring(clerk.get("/staff/lists/overdue").text).xpath("//tr[@data-request]/@data-request") == ["R-1"]
    lose(site, "R-1")
    assert html.fromstring(clerk.get("/staff/lists/overdue").text).xpath("//tr[@data-request]") == []
    for path in ("/staff/lists/on-loan", "/staff/requests/R-1", page_of(clerk)):
        badges = html.fromstring(clerk.get(path).text).xpath("//*[contains(@class, 'badge')]/text()")
        assert ("Lost" in badges, "Overdue" in badges) == (True, False), path


def test_pull_list_opens_in_call_number_order(site: Site) -> None:
    for number, place in (("R-1", "PL2842"), ("R-2", "DS796"), ("R-3", "HD58")):
        with_copy(site, given(site, P.PAGED, number), place)
    page = shown(site, "/staff/lists/pull")
    assert page.xpath("//tr/@data-request") == ["R-2", "R-3", "R-1"]
    by_days = page.xpath("//th/a[.='Days there']/@href")[0]
    assert shown(site, by_days).xpath("//tr/@data-request") == ["R-1", "R-2", "R-3"]


def test_act_without_a_ticked_row_changes_nothing(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    clerk = Clerk(site)
    clerk.load("/staff/lists/pull")
    clerk.press("Ship")
    assert "tick the rows first" in clerk.words
    assert position_of(site, "R-1") == "PAGED"


# ---- a patron's page


def test_lost_book_is_declared_without_payment(site: Site) -> None:
    loan(site)
    clerk = Clerk(site)
    clerk.scan("UG1")
    clerk.open("Lost …")
    clerk.type("dollars", "450")
    clerk.press("Lost, not paid yet")
    assert (owed(site), site.world.request("R-1").lost_on is not None) == (45000, True)


def test_lost_book_without_a_price_says_so_and_takes_nothing(site: Site) -> None:
    loan(site)
    clerk = Clerk(site)
    clerk.scan("UG1")
    clerk.press("Lost, and paid now")
    assert "Nothing is charged for the book, since no price is known." in clerk.words
    assert owed(site) == 0


def test_payment_for_a_lost_book_leaves_older_charges(site: Site) -> None:
    loan(site)
    older = owing(site)
    clerk = Clerk(site)
    clerk.scan("UG1")
    clerk.type("dollars", "450")
    clerk.press("Lost, and paid now", '//form[input[@value="R-1"]]')
    assert [one.left_cents for one in site.world.store.now(fines.charges_of, older)] == [1250]
    assert owed(site) == 1250


def test_two_lost_books_of_one_price_are_both_paid_when_the_page_is_shown_again(site: Site) -> None:
    """The back button shows the page as it was, with the same key in its forms."""
    loan(site)
    given(site, P.ON_LOAN, "R-2", item_barcode="C2")
    clerk = site.staff()
    address = page_of(clerk)
    for number in ("R-1", "R-2"):
        paid = {"action": "lost", "request": number, "dollars": "450", "paid": "1", "form_key": "T-1"}
        assert clerk.post(f"{address}/act", at=address, **paid).status_code == 303
    assert owed(site) == 0


def test_lost_book_is_marked_and_paid_although_we_owe_the_patron(site: Site) -> None:
    loan(site)
    owing(site, cents=-2000)
    clerk = site.staff()
    address = page_of(clerk)
    lost = {"action": "lost", "request": "R-1", "dollars": "450", "form_key": "T-1"}
    assert clerk.post(f"{address}/act", at=address, **lost, paid="1").status_code == 303
    assert (owed(site), site.world.request("R-1").lost_on is not None) == (-2000, True)


def test_lost_book_stays_unmarked_when_its_payment_fails(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    loan(site)
    monkeypatch.setattr(actions, "pay", lambda *_: Refused(why=Reason.TRY_AGAIN))
    clerk = site.staff()
    address = page_of(clerk)
    paid = {"action": "lost", "request": "R-1", "dollars": "450", "paid": "1", "form_key": "T-1"}
    assert clerk.post(f"{address}/act", at=address, **paid).status_code == 500
    assert (owed(site), site.world.request("R-1").lost_on) == (0, None)


def test_price_that_is_named_after_the_fee_is_paid_too(site: Site) -> None:
    loan(site)
    owner = site.world.store.now(lambda unit: unit.partners.find("CUHK"))
    assert owner
    site.world.store.now(lambda unit: unit.partners.write([replace(owner, charges=Charges(processing_cents=5000))]))
    clerk = site.staff()
    address = page_of(clerk)
    for price in ("", "450"):
        paid = {"action": "lost", "request": "R-1", "dollars": price, "paid": "1", "form_key": "T-1"}
        assert clerk.post(f"{address}/act", at=address, **paid).status_code == 303
    assert owed(site) == 0


def test_loan_of_another_patron_is_not_changed(site: Site) -> None:
    given(site, P.ON_LOAN, "R-1", patron="UG2")
    clerk = site.staff()
    address = page_of(clerk)
    assert clerk.post(f"{address}/act", at=address, action="lost", request="R-1").status_code == 404
    assert site.world.request("R-1").lost_on is None


@pytest.mark.parametrize("odd", ["", "\x00", "١٢", "1e9", "-5", "x" * 500, "😀", "<b>'\"", "9" * 30])
def test_odd_input_is_answered_without_an_error(site: Site, odd: str) -> None:
    loan(site)
    clerk = site.staff()
    address = page_of(clerk)
    forms: dict[str, dict[str, str]] = {
        f"{address}/act": {"action": "lost", "request": "R-1", "dollars": odd},
        f"{address}/act?": {"action": odd, "request": odd, "dollars": odd},
        f"{address}/request": {"q": odd, "volume": odd, "pickup": odd},
        "/staff/patrons": {"q": odd},
        "/staff/scan/take": {"scan": odd},
        "/staff/keys": {"off": odd},
        "/staff/lists/on-loan/act": {"action": f"decline:{odd}", "request": odd},
        "/staff/requests/R-1/decline": {"code": odd, "reason": odd, "seen": odd},
    }
    answers = {path: clerk.post(path, at="/staff/", **fields).status_code for path, fields in forms.items()}
    assert {path: code for path, code in answers.items() if code >= 500} == {}
    for path in ("/staff/lists/pull?print=", "/staff/requests/R-1?done="):
        assert clerk.get(path + quote(odd)).status_code < 500


def test_number_of_a_title_is_found_too(site: Site) -> None:
    clerk = Clerk(site)
    clerk.scan("UG1")
    clerk.type("q", "b-dune")
    clerk.enter()
    clerk.press("Request")
    assert "The request is placed" in clerk.words


def test_first_page_finds_requests_too(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    for words in ("R-1", "B-R-1"):
        clerk = Clerk(site)
        clerk.scan(words)
        assert clerk.page.xpath("string(//h1)") == "Title of R-1"
    viewer = Clerk(site, "viewer")
    viewer.scan("B-R-1")
    assert viewer.page.xpath("string(//h1)") == "Title of R-1"


# ---- words


def test_messages_are_counted_on_the_first_page(site: Site) -> None:
    kept = ("CUHK", "digest", "ItemShipped", "<x/>", "unknown_request", site.world.now)
    site.world.store.now(lambda unit: quarantine.keep(unit, *kept))
    page = shown(site, "/staff/", "supervisor")
    (row,) = page.xpath("//li[@data-list='quarantine']")
    assert row.xpath("string(.)").split() == ["Fits", "no", "request", "1"]
    assert row.xpath(".//a/@href") == ["/staff/unsent?kind=quarantine"]


@pytest.mark.parametrize(("language", "said"), [("en", "nothing answers at its address"), ("zh-Hant", "其地址沒有回應")])
def test_technical_error_is_shown_in_words(site: Site, language: str, said: str) -> None:
    text = "http://127.0.0.1:9101/ncip: ConnectionRefusedError: Connection was refused by other side: 111: Connection refused."
    with site.app.test_request_context("/help", headers={"Accept-Language": language}):
        assert problem(text) == f'<span title="{text}">{said}</span>'
        assert problem("a word of a later release") == "a word of a later release"
        assert all("<" not in str(problem(f"<b>{part}")).split(">", 1)[0][6:] for part in WORDS["problems"])


@pytest.mark.parametrize("path", ["/staff/lists/shelf", "/staff/slips?list=shelf", "/staff/requests/R-1", "/staff/scan"])
def test_pickup_place_has_its_name(site: Site, path: str) -> None:
    site.settings = replace(site.settings, places={"zh-Hant": {"HKU-MAIN-LENDING": "主圖書館"}})
    given(site, P.RECEIVED, "R-1")
    words = shown(site, path, headers=CHINESE).xpath("string(//main)")
    assert "HKU-MAIN-LENDING" not in words
    assert ("主圖書館" in words) == (path != "/staff/scan")


def test_category_has_its_label(site: Site) -> None:
    clerk = site.staff()
    address = page_of(clerk, "SPACE-FT")
    assert "SPACE Community College students" in clerk.get(address).text
    assert "香港大學附屬學院學生" in clerk.get(address, headers=CHINESE).text


def test_statistics_say_categories_in_words(site: Site) -> None:
    given(site, P.REQUESTED, "R-1")
    words = shown(site, "/staff/statistics", headers=CHINESE).xpath("string(//section[@id='categories'])")
    assert "本科生" in words
    assert "undergraduates" not in words


def test_explain_says_sources_and_facts_in_words(site: Site) -> None:
    clerk = site.staff()
    answer = clerk.post("/staff/explain", question="borrow", patron="UG1", item="C1")
    words = html.fromstring(answer.text).xpath("string(//section[h2='The facts'])")
    assert "the file that was loaded" in words
    assert "Copy C1" in words
    assert "snapshot" not in words


# ---- the menu and the keys


@pytest.mark.parametrize("role", ["viewer", "clerk", "supervisor", "sysadmin"])
def test_menu_has_at_most_eight_entries_beside_more(site: Site, role: str) -> None:
    page = shown(site, "/staff/", role)
    assert len(page.xpath("//nav/ul/li/a")) <= 8
    more = [entry.word for entry in MENU if entry.more]
    assert page.xpath("//nav//details[summary='More']//a/text()") == more


def test_ten_acts_have_keys_that_a_clerk_can_switch_off(site: Site) -> None:
    clerk = site.staff()
    listed = html.fromstring(clerk.get("/staff/keys").text).xpath("//kbd/text()")
    assert listed == [key.upper() for key, _ in KEYS.values()]
    assert len(set(listed)) == 10
    assert html.fromstring(clerk.get("/staff/").text).xpath("//body/@data-keys") == ["/staff/keys"]
    clerk.post("/staff/keys", off="1")
    for path in ("/staff/", "/staff/scan", "/staff/lists/pull", "/staff/keys"):
        assert html.fromstring(clerk.get(path).text).xpath("//@accesskey | //@data-keys") == [], path
    clerk.post("/staff/keys")
    assert "s" in html.fromstring(clerk.get("/staff/").text).xpath("//@accesskey")


def test_every_key_is_on_a_page_and_none_twice(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    for number in ("R-2", "R-3"):
        loan(site, number)
    owing(site)
    clerk = Clerk(site)
    seen = set[str]()

    def look() -> None:
        keys = clerk.page.xpath("//@accesskey")
        assert len(keys) == len(set(keys)), clerk.words
        seen.update(keys)

    clerk.load("/staff/lists/pull")
    look()
    clerk.load("/staff/requests/R-1")
    look()
    clerk.click("Scan")
    clerk.scan("B-R-1")
    look()
    clerk.scan("UG1")
    look()
    clerk.load("/staff/")
    clerk.scan("UG1")
    look()
    assert seen == {key for key, _ in KEYS.values()}


def test_viewer_has_no_find_form_for_patrons(site: Site) -> None:
    assert shown(site, "/staff/", "viewer").xpath("//main//form/@action") == ["/staff/requests"]
    assert shown(site, "/staff/", "clerk").xpath("//main//form/@action") == ["/staff/patrons"]


def test_dates_of_tables_are_short_with_the_long_form_as_title(site: Site) -> None:
    given(site, P.ON_LOAN, "R-1", due=site.world.now.date() + timedelta(days=3))
    cell = "//td[@data-label='Due']//span"
    page = shown(site, "/staff/lists/on-loan")
    assert (page.xpath(f"{cell}/text()"), page.xpath(f"{cell}/@title")) == (["4 Mar 2017"], ["4 March 2017 (Saturday)"])
    assert "2017年3月4日" in shown(site, "/staff/lists/on-loan", headers=CHINESE).xpath("string(//tbody)")
