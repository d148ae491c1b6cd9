"""The scan station: each scan shows the result, in words that tell the clerk what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pytest
from lxml import html
from sqlalchemy import select
from werkzeug.test import TestResponse

from hkall_gateway.db.tables import WEB_SCANS
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from tests.web.conftest import Browser, Site

P = Position
SCAN = "/staff/scan"
WORLD = Actor(who="world", channel="world")


@dataclass
class Shown:
    """The station's display after a scan."""

    page: Any  # an element of lxml, whose types do not know what an expression finds
    address: str = ""

    @property
    def status(self) -> Any:
        (found,) = self.page.xpath("//main//*[@role='status']")
        return found

    @property
    def outcome(self) -> str:
        return str(self.status.get("data-outcome"))

    @property
    def what(self) -> str:
        return str(self.status.xpath("string(.//*[@class='answer-what'])")).strip()

    @property
    def text(self) -> str:
        return " ".join(self.status.xpath("string(.)").split())

    @property
    def fields(self) -> dict[str, str]:
        return {i.get("name"): i.get("value") or "" for i in self.page.xpath("//form[@data-scan]//input")}

    @property
    def lines(self) -> list[tuple[str, str]]:
        """(barcode, outcome) of the earlier scans, newest first."""
        rows = self.page.xpath("//tr[@data-outcome]")
        return [(row.xpath("string(td[2])").strip(), row.get("data-outcome")) for row in rows]


def given(site: Site, position: Position, barcode: str = "C1", **facts: Any) -> Request:
    """A request of UG1 for CUHK's Dune at a position."""
    made: dict[str, Any] = {"patron": "UG1", "partner": "CUHK", "item_agency": "CUHK", "item_barcode": barcode}
    made |= {"pickup_location": "HKU-MAIN-LENDING", "wire_agency": "HKU", "wire_id": f"w-{barcode}"}
    request = replace(
        Request(id="", side=Side.BORROWING, position=position, title="Dune", bib_id="b-dune"), **{**made, **facts}
    )
    opened: Request = site.world.store.now(lambda unit: unit.open(request, site.world.now, WORLD))
    return opened


def two_places(site: Site, *places: str) -> None:
    """Configure these pickup locations."""
    site.world.start = replace(site.world.start, pickup_locations=places)
    site.world.restart()


def lent(site: Site, **facts: Any) -> Request:
    today = site.world.now.date()
    usual = {"first_checkout": today, "loan_days": 15, "due": today + timedelta(days=15), "used": True}
    return given(site, P.ON_LOAN, **{**usual, **facts})


def paged(site: Site) -> Request:
    """Our item K9, which CUHK has requested."""
    made = Request(
        id="",
        side=Side.LENDING,
        position=P.PAGED,
        title="Love in a Fallen City",
        bib_id="b-lend",
        partner="CUHK",
        item_agency="HKU",
    )
    made = replace(made, item_barcode="K9", wire_agency="CUHK", wire_id="c-1")
    opened: Request = site.world.store.now(lambda unit: unit.open(made, site.world.now, WORLD))
    return opened


def scan(browser: Browser, barcode: str, after: Shown | None = None, **fields: str) -> Shown:
    """Submit one scan, with all fields of the form after the last scan."""
    kept = {"card": after.fields["card"]} if after else {}
    return shown_after(browser, browser.post(SCAN, **{**kept, "barcode": barcode, **fields}))


def shown_after(browser: Browser, sent: TestResponse) -> Shown:
    """The page that a scan redirects to."""
    assert sent.status_code == 303
    page = browser.get(sent.location)
    assert page.status_code == 200
    return Shown(html.fromstring(page.text), sent.location)


# ---- a book comes


def test_arrived_item_is_placed_on_the_hold_shelf_under_its_patrons_name(site: Site) -> None:
    request = given(site, P.IN_TRANSIT)
    shown = scan(site.staff(), "C1")
    assert (shown.outcome, shown.what) == ("ok", "Hold shelf, under C")
    assert "Dune · C1 of CUHK · Chan Siu Ming" in shown.text
    assert "Collect by" in shown.text
    assert site.world.request(request.id).position is P.RECEIVED
    assert shown.status.xpath(".//a/@href") == [f"/staff/slips?request={request.id}", f"/staff/requests/{request.id}"]


def test_repeated_scan_changes_nothing_and_says_so(site: Site) -> None:
    given(site, P.IN_TRANSIT)
    clerk = site.staff()
    first = scan(clerk, "C1")
    second = scan(clerk, "C1", first)
    assert (second.outcome, second.what) == ("look", "Hold shelf, under C")
    assert "Scanned before: nothing has changed." in second.text
    assert second.lines == [("C1", "ok")]
    site.world.pump()
    assert len(site.world.letters) == 1


def test_returned_item_is_sent_to_its_library(site: Site) -> None:
    request = lent(site)
    shown = scan(site.staff(), "C1")
    assert (shown.outcome, shown.what) == ("ok", "Send to CUHK")
    assert site.world.request(request.id).returned_on == site.world.now.date()
    again = scan(site.staff(), "C1", shown)
    assert (again.outcome, again.what) == ("look", "Send to CUHK")


def test_late_return_shows_the_fine(site: Site) -> None:
    lent(site, due=date(2017, 2, 27))
    shown = scan(site.staff(), "C1")
    assert shown.outcome == "look"
    assert re.search(r"Fine: HK\$\d+\.\d\d", shown.text)


def test_recalled_item_is_returned_before_other_uses(site: Site) -> None:
    lent(site, recalled_on=date(2017, 2, 28))
    shown = scan(site.staff(), "C1")
    assert (shown.outcome, shown.what) == ("look", "Send to CUHK")
    assert "Its owner has recalled it: send it first." in shown.text


def test_book_drop_item_is_checked_in_at_the_counter(site: Site) -> None:
    request = lent(site)
    assert site.world.sip2("drop-1", "09N20170301    090000                  APHKU-MAIN-DROP|AOHKU|ABC1|AC|").startswith("100")
    assert StaffFlag.IN_BOOK_DROP in site.world.request(request.id).flags
    shown = scan(site.staff(), "C1")
    assert (shown.outcome, shown.what) == ("ok", "Send to CUHK")
    assert "It lay in the book drop since 1 March 2017 (Wednesday)." in shown.text
    assert site.world.request(request.id).flags == ""


def test_uncollected_item_is_returned_to_its_library(site: Site) -> None:
    given(site, P.RECEIVED, received_on=date(2017, 2, 20), pickup_last=date(2017, 2, 25), expired_pickup=True)
    shown = scan(site.staff(), "C1")
    assert (shown.outcome, shown.what) == ("look", "Send to CUHK")
    assert "Not collected in time." in shown.text


def test_item_without_a_waiting_patron_is_returned_to_its_library(site: Site) -> None:
    given(site, P.IN_TRANSIT, unwanted=True)
    shown = scan(site.staff(), "C1")
    assert (shown.outcome, shown.what) == ("look", "Send to CUHK")
    assert "Nobody waits for it any more." in shown.text


def test_own_item_is_shipped_with_one_button_and_reshelved_on_return(site: Site) -> None:
    request, clerk = paged(site), site.staff()
    shown = scan(clerk, "K9")
    assert (shown.outcome, shown.what) == ("look", "Ship to CUHK")
    (form,) = shown.status.xpath(".//form")
    fields = {i.get("name"): i.get("value") for i in form.xpath(".//input[@name != 'csrf_token']")}
    assert (fields["barcode"], fields["card"]) == ("K9", "CUHK-INST")
    sent = shown_after(clerk, clerk.post(SCAN, **fields))
    assert (sent.outcome, sent.what, sent.fields["card"]) == ("ok", "Send to CUHK", "")
    assert site.world.request(request.id).position is P.SHIPPED

    home = scan(clerk, "K9", sent)
    assert (home.outcome, home.what) == ("look", "Re-shelve")
    assert "had not said" in home.text
    twice = scan(clerk, "K9", home)
    assert (twice.outcome, twice.what) == ("ok", "Re-shelve")


# ---- a book that is none of ours


def test_unknown_barcode_is_set_aside(site: Site) -> None:
    shown = scan(site.staff(), "NOBODY-1")
    assert (shown.outcome, shown.what) == ("no", "This barcode is unknown")
    assert "Scan it once more." in shown.text


def test_item_of_another_library_is_identified(site: Site) -> None:
    shown = scan(site.staff(), "C4")
    assert (shown.outcome, shown.what) == ("no", "A book of CUHK")
    assert "Middlemarch" in shown.text


def test_own_item_outside_hkall_is_left_to_the_local_system(site: Site) -> None:
    shown = scan(site.staff(), "K3")
    assert (shown.outcome, shown.what) == ("look", "Not an HKALL book")


def test_ambiguous_barcode_asks_for_the_library(site: Site) -> None:
    clerk = site.staff()
    given(site, P.IN_TRANSIT, "SAME")
    given(site, P.IN_TRANSIT, "SAME", item_agency="LU", partner="LU", patron="UG2", wire_id="w-2", title="Emma")
    shown = scan(clerk, "SAME")
    assert (shown.outcome, shown.what) == ("look", "Which library's book?")
    assert shown.status.xpath(".//button[@name='agency']/@value") == ["CUHK", "LU"]
    chosen = scan(clerk, "SAME", shown, agency="LU")
    assert (chosen.outcome, chosen.what) == ("ok", "Hold shelf, under W")
    assert scan(clerk, "CUHK/SAME", chosen).what == "Hold shelf, under C"


def test_request_number_on_a_slip_identifies_its_item(site: Site) -> None:
    request = given(site, P.IN_TRANSIT, id="R-7K2M4Q9XW3TD")
    shown = scan(site.staff(), "r-7k2m4q9xw3td")
    assert shown.what == "Hold shelf, under C"
    assert site.world.request(request.id).position is P.RECEIVED


def test_database_outage_asks_the_clerk_to_scan_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from hkall_gateway.web.bridge import TRY_AGAIN
    from tests.web.direct_bridge import DirectBridge

    def away(_self: DirectBridge, command: Any) -> Any:
        command.close()
        return TRY_AGAIN

    clerk = site.staff()
    monkeypatch.setattr(DirectBridge, "run", away)
    shown = scan(clerk, "C1")
    assert (shown.outcome, shown.what) == ("no", "Scan it again")


# ---- a card first


def test_scan_after_a_card_checks_out(site: Site) -> None:
    request = given(site, P.RECEIVED, received_on=date(2017, 3, 1), pickup_last=date(2017, 3, 8))
    clerk = site.staff()
    card = scan(clerk, "UG1")
    assert (card.outcome, card.what, card.fields["card"]) == ("ok", "Lend to Chan Siu Ming", "UG1")
    assert "1 book waits on the hold shelf." in card.text
    shown = scan(clerk, "C1", card)
    assert (shown.outcome, shown.what) == ("ok", "Lent until 16 March 2017 (Thursday)")
    assert site.world.request(request.id).position is P.ON_LOAN
    assert shown.fields["card"] == "UG1"
    assert scan(clerk, "C1", shown).outcome == "look"

    over = scan(clerk, "UG1", shown)
    assert (over.what, over.fields["card"]) == ("Finished", "")
    assert scan(clerk, "C1", over).what == "Send to CUHK"


def test_card_in_the_form_checks_out_immediately(site: Site) -> None:
    given(site, P.RECEIVED, received_on=date(2017, 3, 1), pickup_last=date(2017, 3, 8))
    shown = scan(site.staff(), "C1", card="UG1")
    assert (shown.outcome, shown.what) == ("ok", "Lent until 16 March 2017 (Thursday)")


def test_card_scanned_into_the_card_field_counts_as_a_scan(site: Site) -> None:
    shown = scan(site.staff(), "", card="UG2")
    assert (shown.what, shown.fields["card"]) == ("Lend to Wong Ka Yan", "UG2")


def test_item_of_another_patron_is_refused_with_a_linked_rule(site: Site) -> None:
    request = given(site, P.RECEIVED, received_on=date(2017, 3, 1), pickup_last=date(2017, 3, 8))
    shown = scan(site.staff(), "C1", card="UG2")
    assert (shown.outcome, shown.what) == ("no", "Stop")
    assert "/help#R13" in shown.status.xpath(".//a/@href")
    assert "Chan" not in shown.text  # the person at the counter is another one
    assert site.world.request(request.id).position is P.RECEIVED


def test_recalled_item_is_lent_with_a_notice(site: Site) -> None:
    day = date(2017, 3, 1)
    given(site, P.RECEIVED, received_on=day, pickup_last=date(2017, 3, 8), recalled_on=day)
    shown = scan(site.staff(), "C1", card="UG1")
    assert shown.outcome == "look"
    assert "Its owner has recalled it: tell the patron." in shown.text


def test_card_that_cannot_borrow_does_not_become_the_current_card(site: Site) -> None:
    shown = scan(site.staff(), "EXPIRED")
    assert (shown.outcome, shown.what, shown.fields["card"]) == ("no", "This card cannot borrow", "")
    assert "/help#R2" in shown.status.xpath(".//a/@href")


def test_items_scanned_after_a_library_card_are_shipped(site: Site) -> None:
    request, clerk = paged(site), site.staff()
    card = scan(clerk, "CUHK-INST")
    assert (card.what, card.fields["card"]) == ("Ship to CUHK", "CUHK-INST")
    shown = scan(clerk, "K9", card)
    assert (shown.outcome, shown.what) == ("ok", "Send to CUHK")
    assert site.world.request(request.id).position is P.SHIPPED


def test_card_can_be_cleared_with_a_button(site: Site) -> None:
    clerk = site.staff()
    card = scan(clerk, "UG1")
    shown = scan(clerk, "", card, done="1")
    assert shown.fields["card"] == ""
    assert shown.lines == [("UG1", "ok")]


# ---- the page


def test_scan_field_has_the_focus_and_works_without_scripts(site: Site) -> None:
    page = html.fromstring(site.staff().get(SCAN).text)
    assert page.xpath("//*[@autofocus]/@name") == ["barcode"]
    assert page.xpath("//form[@data-scan]/@method") == ["post"]
    assert page.xpath("//*[@data-sound]//input/@checked") == []


def test_scan_history_is_newest_first_and_bounded(site: Site) -> None:
    clerk, shown = site.staff(), None
    for number in range(25):
        shown = scan(clerk, f"X{number}", shown)
    assert shown
    assert [barcode for barcode, _ in shown.lines[:3]] == ["X23", "X22", "X21"]
    assert len(shown.lines) == 19


def test_reload_shows_the_result_without_repeating_the_scan(site: Site) -> None:
    given(site, P.IN_TRANSIT)
    clerk = site.staff()
    first = scan(clerk, "C1")
    history = len(site.world.store.now(lambda unit: unit.journal.history("")))
    again = Shown(html.fromstring(clerk.get(first.address).text))
    assert (again.outcome, again.what, again.text) == (first.outcome, first.what, first.text)
    assert len(site.world.store.now(lambda unit: unit.journal.history(""))) == history
    second = scan(clerk, "NOBODY-1", first)
    assert Shown(html.fromstring(clerk.get(first.address).text)).what == first.what
    assert second.lines == [("C1", "ok")]


def test_url_of_a_result_contains_only_the_scan_number(site: Site) -> None:
    given(site, P.IN_TRANSIT)
    clerk = site.staff()
    assert [scan(clerk, text).address for text in ("C1", "UG1", "NOBODY-1")] == [f"{SCAN}?scan={n}" for n in (1, 2, 3)]


def test_station_opened_from_the_menu_shows_earlier_scans_but_no_card(site: Site) -> None:
    clerk = site.staff()
    scan(clerk, "UG1")
    fresh = Shown(html.fromstring(clerk.get(SCAN).text))
    assert (fresh.what, fresh.fields["card"], fresh.lines) == ("Ready", "", [("UG1", "ok")])


@pytest.mark.parametrize("number", ["7", "0", "-1", "x", "1 OR 1", "9" * 100])
def test_scan_number_of_another_session_shows_nothing(site: Site, number: str) -> None:
    theirs, mine = site.staff(), site.staff()
    scan(theirs, "UG1")
    shown = Shown(html.fromstring(mine.get(SCAN, query_string={"scan": number}).text))
    assert (shown.what, shown.lines) == ("Ready", [])


def test_scans_are_deleted_with_their_session(site: Site) -> None:
    clerk = site.staff()
    address = scan(clerk, "UG1").address
    clerk.post("/staff/logout", at=SCAN)
    assert site.world.store.now(lambda unit: unit.execute(select(WEB_SCANS)).all()) == []
    assert Shown(html.fromstring(site.staff().get(address).text)).what == "Ready"


# ---- a card whose number is a barcode too


def test_clerk_is_asked_when_a_scan_matches_card_and_item(site: Site) -> None:
    request, clerk = given(site, P.IN_TRANSIT, "UG2"), site.staff()
    asked = scan(clerk, "UG2")
    assert (asked.outcome, asked.what) == ("look", "Is this a card or a book?")
    assert "Book: Dune of CUHK. Card: Wong Ka Yan." in asked.text
    assert asked.status.xpath(".//button[@name='kind']/@value") == ["copy", "card"]
    assert site.world.request(request.id).position is P.IN_TRANSIT
    assert scan(clerk, "UG2", asked, kind="card").fields["card"] == "UG2"
    assert scan(clerk, "UG2", kind="copy").what == "Hold shelf, under C"
    assert site.world.request(request.id).position is P.RECEIVED


def test_card_field_accepts_only_a_card(site: Site) -> None:
    request, clerk = given(site, P.IN_TRANSIT, "UG2"), site.staff()
    assert scan(clerk, "", card="UG2").what == "Lend to Wong Ka Yan"
    unknown = scan(clerk, "", card="C4")
    assert (unknown.outcome, unknown.what) == ("no", "This card cannot borrow")
    assert site.world.request(request.id).position is P.IN_TRANSIT


def test_question_about_a_barcode_keeps_the_current_card(site: Site) -> None:
    given(site, P.RECEIVED, "UG2", received_on=date(2017, 3, 1), pickup_last=date(2017, 3, 8))
    clerk = site.staff()
    asked = scan(clerk, "UG2", scan(clerk, "UG1"))
    assert (asked.what, asked.fields["card"]) == ("Is this a card or a book?", "UG1")
    assert "Every scan lends to Chan Siu Ming" in asked.page.xpath("string(//main)")
    assert scan(clerk, "UG2", asked, kind="copy").what == "Lent until 16 March 2017 (Thursday)"


def test_clerk_is_asked_when_a_scan_matches_library_card_and_item(site: Site) -> None:
    given(site, P.IN_TRANSIT, "CUHK-INST")
    clerk = site.staff()
    asked = scan(clerk, "CUHK-INST")
    assert "Card: CUHK." in asked.text
    assert scan(clerk, "CUHK-INST", asked, kind="card").what == "Ship to CUHK"


# ---- where the station stands


def test_station_does_not_ask_for_the_only_location(site: Site) -> None:
    two_places(site, "HKU-MAIN-LENDING")
    assert html.fromstring(site.staff().get(SCAN).text).xpath("//select[@name='pickup']") == []


def test_location_of_the_station_is_chosen_once(site: Site) -> None:
    two_places(site, "HKU-MAIN-LENDING", "HKU-MED")
    request, clerk = given(site, P.IN_TRANSIT, pickup_location="HKU-MED"), site.staff()
    chosen = clerk.post(f"{SCAN}/place", at=SCAN, pickup="HKU-MED")
    assert (chosen.status_code, chosen.location) == (303, SCAN)
    (cookie,) = chosen.headers.getlist("Set-Cookie")
    assert cookie.startswith("__Host-hkall-place=HKU-MED; ")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    page = html.fromstring(clerk.get(SCAN).text)
    assert page.xpath("//select[@name='pickup']/option[@selected]/text()") == ["HKU-MED"]
    assert scan(clerk, "C1").what == "Hold shelf, under C"
    assert site.world.request(request.id).position is P.RECEIVED


def test_item_is_sent_to_and_lent_at_its_pickup_location(site: Site) -> None:
    two_places(site, "HKU-MAIN-LENDING", "HKU-MED")
    request, clerk = given(site, P.IN_TRANSIT), site.staff()
    clerk.post(f"{SCAN}/place", at=SCAN, pickup="HKU-MED")
    shown = scan(clerk, "C1")
    assert (shown.outcome, shown.what) == ("look", "Send to HKU-MAIN-LENDING")
    assert "It is collected there." in shown.text
    refused = scan(clerk, "C1", card="UG1")
    assert (refused.outcome, refused.what) == ("no", "Stop")
    clerk.post(f"{SCAN}/place", at=SCAN, pickup="HKU-MAIN-LENDING")
    assert scan(clerk, "C1", card="UG1").outcome == "ok"
    assert site.world.request(request.id).position is P.ON_LOAN


@pytest.mark.parametrize("place", ["", "NOWHERE", "<script>"])
def test_unknown_location_is_not_stored(site: Site, place: str) -> None:
    two_places(site, "HKU-MAIN-LENDING", "HKU-MED")
    clerk = site.staff()
    assert clerk.post(f"{SCAN}/place", at=SCAN, pickup=place).headers.getlist("Set-Cookie") == []
    clerk.client.set_cookie("__Host-hkall-place", place)
    page = html.fromstring(clerk.get(SCAN).text)
    assert page.xpath("//select[@name='pickup']/option[@selected]") == []
    assert page.xpath("//select[@name='pickup']/option/text()") == ["not chosen", "HKU-MAIN-LENDING", "HKU-MED"]


def test_markup_in_a_barcode_or_title_is_escaped(site: Site) -> None:
    given(site, P.IN_TRANSIT, title="<script>alert(1)</script>")
    clerk = site.staff()
    first = scan(clerk, "C1")
    second = scan(clerk, '"><img src=x onerror=alert(2)>', first)
    assert second.page.xpath("//main//script | //main//img") == []
    assert "<script>alert(1)" in second.page.xpath("string(//tr[@data-outcome]/td[3])")


def test_viewer_cannot_scan(site: Site) -> None:
    viewer = site.staff("viewer")
    assert viewer.get(SCAN).status_code == 403
    request = given(site, P.IN_TRANSIT)
    assert viewer.post(SCAN, at="/staff/", barcode="C1").status_code == 403
    assert site.world.request(request.id).position is P.IN_TRANSIT


def test_scan_without_a_csrf_token_does_nothing(site: Site) -> None:
    request = given(site, P.IN_TRANSIT)
    assert site.staff().send(SCAN, barcode="C1").status_code == 400
    assert site.world.request(request.id).position is P.IN_TRANSIT


def test_journal_records_clerk_and_channel(site: Site) -> None:
    request = given(site, P.IN_TRANSIT)
    scan(site.staff(), "C1")
    lines = site.world.store.now(lambda unit: unit.journal.history(request.id))
    arrived = next(line for line in lines if line["event"] == "ARRIVE")
    assert (arrived["who"], arrived["channel"], arrived["message"]) == ("clerk", "web", "scan")


def test_station_is_available_in_chinese(site: Site) -> None:
    given(site, P.IN_TRANSIT, patron="UG2")
    clerk = site.staff()
    clerk.get("/language/zh-Hant?next=/staff/scan")
    shown = scan(clerk, "C1")
    assert shown.what == "預約書架：W"
    assert "黃嘉欣" in shown.text


def test_chinese_station_shows_chinese_library_names(site: Site) -> None:
    site.settings = replace(site.settings, partner_names_zh={"CUHK": "香港中文大學圖書館"})
    lent(site)
    paged(site)
    clerk = site.staff()
    clerk.get("/language/zh-Hant?next=/staff/scan")
    returned = scan(clerk, "C1")
    assert returned.what == "送往香港中文大學圖書館"
    assert "（香港中文大學圖書館）" in returned.text
    assert scan(clerk, "K9").what == "寄往香港中文大學圖書館"
    assert "或先掃描香港中文大學圖書館的證" in scan(clerk, "K9").text
    assert scan(clerk, "C2").what == "香港中文大學圖書館的圖書"
    card = scan(clerk, "CUHK-INST")
    assert card.what == "寄往香港中文大學圖書館"
    assert "每次掃描均借予香港中文大學圖書館" in card.page.xpath("string(//div[@class='scan-mode'])")


def test_chinese_station_keeps_blanks_around_names_in_latin_script(site: Site) -> None:
    lent(site)
    clerk = site.staff()
    clerk.get("/language/zh-Hant?next=/staff/scan")
    assert scan(clerk, "C1").what == "送往 CUHK"


def test_log_contains_no_card_or_title(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    given(site, P.IN_TRANSIT, title="A very private title")
    clerk = site.staff()
    scan(clerk, "C1")
    scan(clerk, "UG1")
    out = "".join(capfd.readouterr())
    assert "private title" not in out
    assert "UG1" not in out
