"""Chromium on the scan station, the request page and explain, by keyboard only, like a barcode scanner."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from demo import demo_setup
from hkall_gateway.clock import now
from hkall_gateway.config import gateway as config
from hkall_gateway.config.library import library_of, make_unit
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.stored_words import StaffFlag
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.simulator.databases import SoleStore
from tests.company import Gateway, until
from tests.web.test_browser import SIZES, chromium, keep, log_in, messages, shown, wait_for

pytestmark = pytest.mark.browser

P = Position
WORLD = Actor(who="world", channel="world")
DAY = timedelta(days=1)
WAITING = 52
"""Items in transit to us, which are scanned one after another."""


def standing() -> list[Request]:
    """One item for each kind of scan."""
    today = civil(now())
    book = Request(
        id="",
        side=Side.BORROWING,
        position=P.IN_TRANSIT,
        title="香港天橋漫步",
        bib_id="b9001",
        partner="CUHK",
        patron="P0002",
        item_agency="CUHK",
    )
    book = replace(
        book, pickup_location=demo_setup.LOCATION, wire_agency="HKU", placed_at=now() - 3 * DAY, moved_at=now() - DAY
    )
    loan = replace(book, position=P.ON_LOAN, title="聊齋志異", first_checkout=today - 9 * DAY, loan_days=15, used=True)
    loan = replace(loan, due=today + 6 * DAY)
    shelf = replace(book, position=P.RECEIVED, title="Dune", received_on=today, pickup_last=today + 5 * DAY)
    ours = replace(
        book, side=Side.LENDING, position=P.PAGED, patron="", item_agency="HKU", title="三國演義", wire_agency="CUHK"
    )
    return [
        *(replace(book, item_barcode=f"W{n}", wire_id=f"w-{n}", patron=f"P{n + 1:04}") for n in range(WAITING)),
        replace(loan, item_barcode="LOAN", wire_id="loan"),
        replace(loan, item_barcode="LATE", wire_id="late", due=today - 3 * DAY),
        replace(loan, item_barcode="RECALLED", wire_id="recalled", recalled_on=today - DAY),
        replace(loan, item_barcode="DROPPED", wire_id="dropped", dropped_on=today - DAY, flags=StaffFlag.IN_BOOK_DROP),
        replace(shelf, item_barcode="SHELF", wire_id="shelf", id="R-7K2M4Q9XW3TD"),
        replace(shelf, item_barcode="SHELF-2", wire_id="shelf-2"),
        replace(book, item_barcode="SAME", wire_id="same-1"),
        replace(book, item_barcode="SAME", item_agency="LU", partner="LU", wire_id="same-2"),
        replace(book, item_barcode="P0004", wire_id="card-too"),
        replace(ours, item_barcode="X0000003", wire_id="c-1"),
    ]


@pytest.fixture(scope="module")
def counter(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with these items."""
    made = Gateway(reactor, tmp_path_factory.mktemp("scan"), pages=True)
    one = f'pickup_locations = ["{demo_setup.LOCATION}"'
    made.path.write_text(made.path.read_text("utf-8").replace(one, f'{one}, "HKU-MED"'), "utf-8")
    found = config.load(made.path, made.environ)
    engine = open_engine(found.database.url)
    store = SoleStore(engine, make_unit(library_of(found)))
    for request in standing():
        store.now(UnitOfWork.open, request, now() - 3 * DAY, WORLD)
    store.close()
    engine.dispose()
    made.start()
    yield made
    made.end()


def at(counter: Gateway, path: str) -> str:
    return f"http://127.0.0.1:{counter.ports.web}{path}"


def station(counter: Gateway, *, script: bool = True, width: int = 1180) -> WebDriver:
    driver = chromium(width, script=script)
    log_in(driver, counter)
    wait_for(driver, "Today")
    driver.get(at(counter, "/staff/scan"))
    return driver


def wedge(driver: WebDriver, *scans: str) -> None:
    """Type like a scanner: into whatever has the focus, each scan followed by Enter."""
    for scan in scans:
        driver.switch_to.active_element.send_keys(scan + Keys.ENTER)


def newest(driver: WebDriver) -> tuple[str, str]:
    """(outcome, instruction) of the newest scan."""
    status = driver.find_element(By.CSS_SELECTOR, "[role=status]")
    return status.get_attribute("data-outcome") or "", status.find_element(By.CLASS_NAME, "answer-what").text


def answered(driver: WebDriver, barcode: str) -> tuple[str, str]:
    """Wait until the newest scan shows this barcode."""
    waiting = WebDriverWait(driver, 20, ignored_exceptions=[WebDriverException])  # the page before may go while it is looked at
    waiting.until(lambda found: barcode in found.find_element(By.CSS_SELECTOR, "[role=status]").text)
    return newest(driver)


def focused(driver: WebDriver) -> str:
    return driver.switch_to.active_element.get_attribute("name") or ""


@pytest.mark.parametrize("script", [True, False])
def test_each_scan_result_tells_the_clerk_what_to_do(counter: Gateway, script: bool) -> None:
    driver = station(counter, script=script)
    wanted = {
        "W0" if script else "W1": ("ok", "Hold shelf, under H" if script else "Hold shelf, under T"),
        "NOBODY": ("no", "This barcode is unknown"),
        "C00002": ("no", "A book of The Chinese University of Hong Kong Library"),
        "X0000003": ("look", "Ship to The Chinese University of Hong Kong Library"),
    }
    try:
        for barcode, expected in wanted.items():
            wedge(driver, barcode)
            assert answered(driver, barcode) == expected
            assert focused(driver) == "barcode"
        twice = next(iter(wanted))
        wedge(driver, twice)
        assert answered(driver, twice)[0] == "look"
        rows = [row.get_attribute("data-outcome") for row in driver.find_elements(By.CSS_SELECTOR, "tr[data-outcome]")]
        assert rows == ["look", "no", "no", "ok"]
    finally:
        driver.quit()


def test_book_drop_item_and_recalled_item_are_returned(counter: Gateway) -> None:
    driver = station(counter)
    try:
        wedge(driver, "DROPPED")
        assert answered(driver, "DROPPED") == ("ok", "Send to The Chinese University of Hong Kong Library")
        assert "book drop since" in driver.find_element(By.CSS_SELECTOR, "[role=status]").text
        wedge(driver, "RECALLED")
        assert answered(driver, "RECALLED") == ("look", "Send to The Chinese University of Hong Kong Library")
        assert "recalled it: send it first" in driver.find_element(By.CSS_SELECTOR, "[role=status]").text
    finally:
        driver.quit()


def test_thirty_fast_scans_are_all_recorded_and_keep_the_focus(counter: Gateway) -> None:
    driver = station(counter)
    scans = [f"W{n}" for n in range(2, 32)]
    try:
        wedge(driver, *scans)  # faster than any hand: each is typed while the one before is under way
        assert answered(driver, "W31")[0] == "ok"
        assert focused(driver) == "barcode"
        assert not driver.find_element(By.CSS_SELECTOR, "[data-unsent]").is_displayed()
        told = [row.get_attribute("data-outcome") for row in driver.find_elements(By.CSS_SELECTOR, "tr[data-outcome]")]
        assert len(told) == 19
        assert {*told} == {"ok", "look"}  # "look": its patron may not borrow any more
        assert {counter.position(scan) for scan in ("W2", "W16", "W31")} == {"RECEIVED"}
        assert [line for line in messages(driver) if "Content Security Policy" in line] == []
    finally:
        driver.quit()


@pytest.mark.parametrize("script", [True, False])
def test_checkout_works_by_keyboard_alone(counter: Gateway, script: bool) -> None:
    driver = station(counter, script=script)
    try:
        wedge(driver, "P0002")
        assert answered(driver, "Tsang Ka Ming") == ("ok", "Lend to Tsang Ka Ming")
        wedge(driver, "SHELF" if script else "SHELF-2")
        outcome, what = answered(driver, "SHELF")
        assert (outcome, what.split()[0]) == ("ok", "Lent")
        assert "Every scan lends to Tsang Ka Ming" in driver.find_element(By.TAG_NAME, "main").text
        wedge(driver, "P0002")
        assert answered(driver, "Finished") == ("ok", "Finished")
        assert "Every scan lends" not in driver.find_element(By.TAG_NAME, "main").text
    finally:
        driver.quit()


@pytest.mark.parametrize("script", [True, False])
def test_ambiguous_scan_is_resolved_by_keyboard(counter: Gateway, script: bool) -> None:
    driver = station(counter, script=script)
    try:
        wedge(driver, "P0004")
        assert answered(driver, "P0004") == ("look", "Is this a card or a book?")
        driver.find_element(By.CSS_SELECTOR, "button[value=card]").send_keys(Keys.ENTER)
        shown(driver, "Every scan lends to")
        assert driver.find_element(By.NAME, "card").get_attribute("value") == "P0004"
    finally:
        driver.quit()


@pytest.mark.parametrize("script", [True, False])
def test_reload_shows_the_result_without_sending_a_scan(counter: Gateway, script: bool) -> None:
    driver = station(counter, script=script)
    scan = "W36" if script else "W37"
    try:
        wedge(driver, scan)
        assert answered(driver, scan)[0] == "ok"
        driver.refresh()
        assert answered(driver, scan)[0] == "ok"  # sent again it would be "look"
        assert driver.current_url.endswith("?scan=1")
    finally:
        driver.quit()


def test_scan_reaches_the_field_wherever_the_focus_is(counter: Gateway) -> None:
    driver = station(counter)
    try:
        wedge(driver, "W32")
        answered(driver, "W32")
        driver.find_element(By.LINK_TEXT, "Open the request").send_keys(Keys.SHIFT)  # the link has the focus now
        assert focused(driver) == ""
        wedge(driver, "W33")
        assert answered(driver, "W33")[0] == "ok"
        driver.find_element(By.TAG_NAME, "h1").click()
        until(lambda: focused(driver) == "barcode", "the focus, which the page returns after the click")
    finally:
        driver.quit()


def test_unanswered_scan_is_reported(counter: Gateway) -> None:
    driver = station(counter)
    browser: Any = driver
    try:
        browser.execute_cdp_cmd("Network.enable", {})
        browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/staff/scan"]})
        wedge(driver, "W34")
        unsent = driver.find_element(By.CSS_SELECTOR, "[data-unsent]")
        until(unsent.is_displayed, "the words about it")
        assert "W34" in unsent.text
        browser.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
        wedge(driver, "W34")
        assert answered(driver, "W34")[0] == "ok"
    finally:
        driver.quit()


def test_sound_is_off_by_default(counter: Gateway) -> None:
    driver = station(counter)
    try:
        assert not driver.find_element(By.CSS_SELECTOR, "[data-sound] input").is_selected()
    finally:
        driver.quit()


def test_request_page_command_works_by_keyboard(counter: Gateway) -> None:
    driver = station(counter)
    try:
        driver.get(at(counter, "/staff/requests"))
        until(lambda: focused(driver) == "q", "the focus on the search")
        wedge(driver, "W35")
        wait_for(driver, "香港天橋漫步")
        reason = driver.find_element(By.NAME, "reason")
        reason.send_keys("it is here" + Keys.ENTER)  # Enter in the field presses no button
        assert driver.find_elements(By.CSS_SELECTOR, ".notice.done") == []
        driver.find_element(By.XPATH, "//button[text()='Receive']").send_keys(Keys.ENTER)
        shown(driver, "Done: Receive")
        assert "On the hold shelf" in driver.find_element(By.TAG_NAME, "main").text
    finally:
        driver.quit()


def test_access_keys_open_pages_until_they_are_switched_off(counter: Gateway) -> None:
    driver = station(counter)

    def press(*keys: str) -> None:
        driver.switch_to.active_element.send_keys(*keys)

    try:
        press(Keys.ALT, "p")
        wait_for(driver, "Patrons")
        press("?")  # the field is empty
        wait_for(driver, "Keys")
        assert len(driver.find_elements(By.TAG_NAME, "kbd")) == 10
        driver.find_element(By.CSS_SELECTOR, "button[name=off]").send_keys(Keys.ENTER)
        shown(driver, "Switch the keys on in this browser")
        driver.get(at(counter, "/staff/patrons"))
        press("?", Keys.ALT, "s")
        assert str(driver.find_element(By.NAME, "q").get_attribute("value")).startswith("?")
        assert driver.current_url.endswith("/staff/patrons")
    finally:
        driver.quit()


# ---- pictures


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["English", "繁體中文"])
@pytest.mark.parametrize("size", SIZES)
def test_each_page_fits_its_screen(counter: Gateway, size: str, language: str, scheme: str) -> None:
    driver = chromium(SIZES[size], scheme)
    place = f"{size}-{language}-{scheme}"
    fresh = f"W{40 + 4 * list(SIZES).index(size) + 2 * (language == 'English') + (scheme == 'dark')}"
    try:
        log_in(driver, counter)
        wait_for(driver, "Today")
        driver.find_element(By.LINK_TEXT, language).click()
        driver.get(at(counter, "/staff/scan"))
        keep(driver, f"scan-ready-{place}")
        for name, barcode in (
            ("ok", fresh),
            ("no", "NOBODY"),
            ("owner", "SAME"),
            ("ship", "X0000003"),
            ("look", fresh),
            ("either", "P0004"),
        ):
            wedge(driver, barcode)
            answered(driver, barcode)
            keep(driver, f"scan-{name}-{place}")
        wedge(driver, "P0003")
        until(lambda: driver.find_element(By.NAME, "card").get_attribute("value") == "P0003", "the card")
        keep(driver, f"scan-card-{place}")
        driver.get(at(counter, "/staff/requests"))
        until(lambda: focused(driver) == "q", "the focus on the search")
        wedge(driver, "P0002")
        until(lambda: driver.find_elements(By.CSS_SELECTOR, "tr[data-request]"), "the matches")
        keep(driver, f"requests-{place}")
        driver.get(at(counter, "/staff/requests/R-7K2M4Q9XW3TD"))
        for details in driver.find_elements(By.CSS_SELECTOR, "details"):
            driver.execute_script("arguments[0].open = true", details)
        keep(driver, f"request-{place}")
        driver.get(at(counter, "/staff/explain?question=renew"))
        driver.find_element(By.NAME, "item").send_keys("LOAN" + Keys.ENTER)
        until(lambda: driver.find_elements(By.CSS_SELECTOR, "[data-outcome]"), "the explanation")
        keep(driver, f"explain-{place}")
    finally:
        driver.quit()
