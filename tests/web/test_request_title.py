"""/title/<bib_id>/request: the published page's five steps; every refusal with reason and rule; one request per submission."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from lxml import html

from hkall_gateway.rules.vocabulary import Position, Request
from hkall_gateway.simulator.scenario.world import World
from hkall_gateway.web.services import HomeLibrary
from tests.web.conftest import WORLD, Browser, Site
from tests.web.given import given

WAY = "/title/b-dune/request"
HKU = {"home_library": "HKU", "pickup": "HKU-MAIN-LENDING"}


def requests(site: Site, card: str = "UG1") -> tuple[Request, ...]:
    found: tuple[Request, ...] = site.world.store.now(lambda unit: unit.requests.open_of_patron(card))
    return found


def main(browser: Browser, path: str, language: str = "en") -> str:
    """The main text of the page."""
    page = html.fromstring(browser.get(path, headers={"Accept-Language": language}).text)
    return " ".join(page.xpath("string(//main)").split())


def submit(browser: Browser, way: str = WAY, **fields: str) -> tuple[int, str]:
    answer = browser.post(way, **{**HKU, **fields})
    return answer.status_code, answer.location or " ".join(html.fromstring(answer.text).xpath("string(//main)").split())


@pytest.fixture
def others(site: Site) -> Site:
    """A site with known partners, one of them with a URL for its pages."""
    partners = (
        HomeLibrary(agency="CUHK", name="CUHK Library", discovery_url="https://hkall.cuhk.test/"),
        HomeLibrary(agency="LU", name="Lingnan University Library"),
    )
    site.settings = replace(site.settings, partners=partners)
    return site


@pytest.mark.parametrize(("language", "cuhk"), [("en", "CUHK Library"), ("zh-Hant", "香港中文大學圖書館")])
def test_chinese_page_shows_chinese_library_names_if_configured(others: Site, language: str, cuhk: str) -> None:
    others.settings = replace(others.settings, partner_names_zh={"CUHK": "香港中文大學圖書館"})
    browser, said = others.patron(), {"Accept-Language": language}
    options = html.fromstring(browser.get(WAY, headers=said).text).xpath("//select[@name='home_library']/option/text()")
    assert {cuhk, "Lingnan University Library"} <= {option.strip() for option in options}
    assert ("香港中文大學圖書館" in main(browser, "/title/b-dune", language)) is (language == "zh-Hant")
    given(others, Position.ON_LOAN, "R-1")
    assert ("香港中文大學圖書館" in main(browser, "/record", language)) is (language == "zh-Hant")
    clerk = others.staff()
    assert ("香港中文大學圖書館" in main(clerk, "/staff/partners", language)) is (language == "zh-Hant")


# ---- the steps


def test_logged_in_patron_places_a_request_and_sees_it(site: Site) -> None:
    browser = site.patron()
    code, where = submit(browser)
    (placed,) = requests(site)
    assert (code, where) == (303, f"/record?placed={placed.id}")
    assert (placed.bib_id, placed.pickup_location, placed.position) == ("b-dune", "HKU-MAIN-LENDING", Position.REQUESTED)
    assert "Your request is placed." in main(browser, where)
    assert "The Chinese University of Hong Kong Library is asked" in main(browser, where)


def test_visitor_places_a_request_with_card_and_pin_and_is_logged_in(site: Site) -> None:
    browser = site.browser()
    code, where = submit(browser, barcode="UG1", pin="1234")
    assert (code, where) == (303, f"/record?placed={requests(site)[0].id}")
    assert browser.get("/record").status_code == 200


def test_login_from_the_request_page_keeps_the_choices(site: Site) -> None:
    browser = site.browser()
    code, where = submit(browser)
    assert code == 303
    assert where == "/login?next=/title/b-dune/request?pickup%3DHKU-MAIN-LENDING"
    browser.get(where)
    back = browser.post("/login", at=where, barcode="UG1", pin="1234", next="/title/b-dune/request?pickup=HKU-MAIN-LENDING")
    assert back.location == "/title/b-dune/request?pickup=HKU-MAIN-LENDING"
    assert 'name="barcode"' not in browser.get(back.location).text
    assert submit(browser)[0] == 303
    assert len(requests(site)) == 1


def test_wrong_pin_places_no_request_and_keeps_the_choices(site: Site) -> None:
    browser = site.browser()
    answer = browser.post(WAY, **HKU, barcode="UG1", pin="0000")
    assert answer.status_code == 401
    assert "Card or PIN is wrong." in answer.text
    assert 'value="UG1"' in answer.text
    assert "0000" not in answer.text
    assert requests(site) == ()


def test_wrong_pins_on_request_and_login_pages_are_throttled_together(site: Site) -> None:
    browser = site.browser()
    for way, fields in ((WAY, HKU), ("/login", {}), (WAY, HKU)):
        assert browser.post(way, **fields, barcode="UG1", pin="0000").status_code == 401
    answer = browser.post(WAY, **HKU, barcode="UG1", pin="1234")
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "2")


def test_form_asks_for_home_library_and_pickup_location(others: Site) -> None:
    page = html.fromstring(others.browser().get(WAY).text)
    assert page.xpath("//select[@name='home_library']/option/@value") == ["HKU", "CUHK", "LU"]
    assert page.xpath("//select[@name='pickup']/option/@value") == ["HKU-MAIN-LENDING"]
    assert [" ".join(b.split()) for b in page.xpath("//main//button/text()")] == ["Submit request"]
    assert page.xpath("//label[@for='home_library']/text()") == ["Which is your home library?"]


def test_pickup_location_is_named_in_the_page_language(site: Site) -> None:
    names = {"en": {"HKU-MAIN-LENDING": "Main Library"}, "zh-Hant": {"HKU-MAIN-LENDING": "總館"}}
    site.settings = replace(site.settings, places=names)
    assert "Main Library" in main(site.browser(), WAY)
    assert "總館" in main(site.browser(), WAY, "zh-Hant")


# ---- other libraries' patrons


def test_patron_of_another_library_is_redirected_there_without_a_pin(others: Site) -> None:
    browser = others.browser()
    answer = browser.post(WAY, home_library="CUHK", pickup="HKU-MAIN-LENDING", barcode="UG1", pin="1234")
    assert answer.status_code == 200
    assert html.fromstring(answer.text).xpath("//main//a[contains(@class, 'primary')]/@href") == ["https://hkall.cuhk.test/"]
    assert requests(others) == ()
    assert browser.get("/record").status_code == 303  # the PIN was not even looked at


def test_home_library_without_a_url_is_shown_by_name(others: Site) -> None:
    code, text = submit(others.browser(), home_library="LU")
    assert code == 200
    assert "Patrons of Lingnan University Library request there." in text


@pytest.mark.parametrize("home", ["", "NOWHERE"])
def test_form_asks_again_for_an_unknown_home_library(others: Site, home: str) -> None:
    code, text = submit(others.browser(), home_library=home)
    assert code == 400
    assert "Choose your home library." in text


# ---- every no, before a PIN where that is possible


@pytest.mark.parametrize(
    ("bib", "english", "chinese", "rule"),
    [
        ("b-home", "A copy is on our own shelf.", "本館", "R6"),
        ("b-out", "No library has a copy to lend now.", "沒有圖書館", "R7"),
    ],
)
def test_unrequestable_title_shows_its_reason_in_place_of_the_pin_form(
    site: Site, bib: str, english: str, chinese: str, rule: str
) -> None:
    browser, way = site.browser(), f"/title/{bib}/request"
    assert english in main(browser, way)
    assert chinese in main(browser, way, "zh-Hant")
    page = html.fromstring(browser.get(way).text)
    assert page.xpath("//main//input | //main//select | //main//form") == []
    assert page.xpath("//main//a[@class='rule']/@href") == [f"/help#{rule}"]


def test_title_that_became_unrequestable_is_refused_before_the_pin_check(site: Site) -> None:
    token = site.browser()
    page = token.get(WAY).text
    secret = html.fromstring(page).xpath("//main//input[@name='csrf_token']/@value")[0]
    site.world.store.now(_nothing_left)
    answer = token.send(WAY, csrf_token=secret, barcode="UG1", pin="0000", **HKU)
    assert answer.status_code == 409
    assert "No library has a copy to lend now." in answer.text


def _nothing_left(unit: object) -> None:
    from sqlalchemy import update

    from hkall_gateway.db.tables import HOLDINGS

    unit.execute(update(HOLDINGS).where(HOLDINGS.c.bib_id == "b-dune").values(status="On Loan"))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("card", "english", "chinese", "rule"),
    [
        ("SPACE-PT", "Part-time HKU SPACE students may not use HKALL.", "兼讀", "R2"),
        ("EXPIRED", "Your card expired on 28 February 2017 (Tuesday).", "2017年2月28日", "R2"),
    ],
)
def test_refusal_reason_is_in_the_page_language(site: Site, card: str, english: str, chinese: str, rule: str) -> None:
    browser = site.patron(card)
    assert english in main(browser, WAY)
    assert chinese in main(browser, WAY, "zh-Hant")
    assert rule in main(browser, WAY)
    page = html.fromstring(browser.get(WAY).text)
    assert page.xpath("//main//form") == []
    token = html.fromstring(browser.get("/logout").text).xpath("//main//input[@name='csrf_token']/@value")[0]
    answer = browser.send(WAY, csrf_token=token, **HKU)  # the desk refuses as well
    assert answer.status_code == 409
    assert english in answer.text
    assert requests(site, card) == ()


def test_patron_at_the_quota_sees_the_quota(site: Site) -> None:
    browser = site.patron("FULL")
    assert submit(browser)[0] == 303
    text = main(browser, "/title/b-dream/request")
    assert "You have all the 60 books that you may have." in text
    assert "R21" in text


def test_refusal_of_an_unknown_pickup_location_lists_the_valid_ones(site: Site) -> None:
    code, text = submit(site.patron(), pickup="MOON")
    assert code == 409
    assert "Books can be collected at HKU-MAIN-LENDING only. R4" in text
    assert "Submit request" in text  # and may be chosen again


def test_unknown_title_is_not_found(site: Site) -> None:
    assert site.browser().get("/title/no-such/request").status_code == 404


def test_suspended_service_shows_its_end(site: Site) -> None:
    world = site.world
    world.go_to(world.now.replace(year=2017, month=6, day=10))
    text = main(site.browser(), WAY)
    assert "HKALL is suspended until 17 July 2017 (Monday)." in text
    assert "R1" in text


# ---- one wish is one request


def test_repeated_request_is_placed_once(site: Site) -> None:
    browser = site.patron()
    assert submit(browser)[1] == submit_again(browser)
    assert len(requests(site)) == 1


def submit_again(browser: Browser, **fields: str) -> str:
    """Submit the form from a second tab, although the page would no longer offer it."""
    token = html.fromstring(browser.get("/record").text).xpath("//input[@name='csrf_token']/@value")[0]
    answer = browser.send(WAY, csrf_token=token, **{**HKU, **fields})
    return answer.location or answer.text


def test_resubmission_with_another_pickup_location_is_a_repetition(site: Site) -> None:
    browser = site.patron()
    submit(browser)
    site.wait(hours=1)
    browser = site.patron()
    assert "You have requested this title already." in submit_again(browser)
    assert len(requests(site)) == 1
    text = main(browser, WAY)
    assert "R11a" in text
    assert "Look at your record" in text


def test_same_request_after_a_cancellation_is_placed_again(site: Site) -> None:
    browser = site.patron()
    submit(browser)
    (first,) = requests(site)
    assert browser.post("/record/cancel", at="/record", request=first.id).status_code == 303
    site.world.pump()
    assert submit(browser)[0] == 303
    assert [one.id for one in requests(site) if one.id != first.id]


def test_two_patrons_can_request_the_same_title(site: Site) -> None:
    assert submit(site.patron("UG1"))[1] != submit(site.patron("UG2"))[1]


def test_form_without_a_csrf_token_places_no_request(site: Site) -> None:
    browser = site.patron()
    assert browser.send(WAY, **HKU).status_code == 400
    assert requests(site) == ()


# ---- what the journal knows


def test_journal_records_the_web_channel_without_a_card(site: Site) -> None:
    submit(site.patron())
    (placed,) = requests(site)
    assert ("patron", "web") in _journal(site, placed.id)


def _journal(site: Site, number: str) -> list[tuple[str, str]]:
    from sqlalchemy import select

    from hkall_gateway.db.tables import JOURNAL

    rows = site.world.store.now(
        lambda unit: unit.execute(select(JOURNAL.c.who, JOURNAL.c.channel).where(JOURNAL.c.request == number)).all()
    )
    return [(str(who), str(channel)) for who, channel in rows]


# ---- a library whose own system is asked


@pytest.fixture
def living() -> Iterator[Site]:
    world = World.open(WORLD.with_name("living-system.toml"))
    yield Site(world)
    world.close()


def test_patron_login_is_checked_by_a_connected_local_system(living: Site) -> None:
    browser = living.patron()
    assert submit(browser, "/title/b-dream/request")[0] == 303
    assert submit(living.browser("192.0.2.8"), barcode="UG1", pin="0000")[0] == 401
    assert submit(living.browser("192.0.2.9"), barcode="NOBODY", pin="1234")[0] == 401


@pytest.mark.parametrize("card", ["UG1", "NOBODY"])
def test_known_and_unknown_cards_get_the_same_reply_during_an_outage(living: Site, card: str) -> None:
    living.world.ils.state = "away"
    for _ in range(5):  # and nobody waits for it: these were no guesses
        code, text = submit(living.browser(), "/title/b-dream/request", barcode=card, pin="1234")
        assert code == 503
        assert "Your card cannot be checked just now." in text
