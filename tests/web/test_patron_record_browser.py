"""Chromium on the patron pages: login, request, record; both languages and colour schemes, two screen sizes, with axe."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import Select

from demo import demo_setup
from hkall_gateway.clock import now
from hkall_gateway.db import fines
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from tests.company import BIB, CARD, PIN, Gateway, until
from tests.web.test_browser import SIZES, chromium, keep, messages, wait_for

pytestmark = pytest.mark.browser

P = Position
WORLD = Actor(who="world", channel="world")
DAY = timedelta(days=1)
BUSY: Final = "P0002"
"""A patron with data in each part of the record."""
NOT_REQUESTABLE: Final = "b0003"
"""A title on our own shelf."""
WORDS: Final = {
    "English": {"login": "Log in", "record": "My circulation record", "request": "Request this title"},
    "繁體中文": {"login": "登入", "record": "我的借閱紀錄", "request": "申請此書"},
}
ELSEWHERE: Final = "https://hkall.cuhk.example.hk/"


def plant(unit: UnitOfWork) -> None:
    """Requests and loans of BUSY in each state, and two charges."""
    at, today = now(), civil(now())
    bare = Request(
        id="R-2K2M4Q9XW3T2",
        side=Side.BORROWING,
        position=P.REQUESTED,
        title="聊齋志異",
        bib_id="x1",
        partner="LU",
        patron=BUSY,
        wire_agency="HKU",
    )
    bare = replace(bare, wire_id="w-1", placed_at=at - 2 * DAY, moved_at=at - DAY, pickup_location=demo_setup.LOCATION)
    shipped = replace(bare, id="R-3K2M4Q9XW3T3", position=P.IN_TRANSIT, title="Dream of the Red Chamber", partner="HKUST")
    shipped = replace(shipped, wire_id="w-2", bib_id="x2", item_agency="HKUST", item_barcode="X2")
    here = replace(
        shipped, id="R-4K2M4Q9XW3T4", position=P.RECEIVED, title="香港天橋漫步", partner="CUHK", wire_id="w-3", bib_id="x3"
    )
    here = replace(
        here, item_agency="CUHK", item_barcode="X3", received_on=today, notified_on=today, pickup_last=today + 5 * DAY
    )
    loan = replace(
        here, id="R-5K2M4Q9XW3T5", position=P.ON_LOAN, title="資治通鑑", wire_id="w-4", bib_id="x4", item_barcode="X4"
    )
    loan = replace(loan, used=True, loan_days=15, first_checkout=today - 11 * DAY, due=today + 4 * DAY, pickup_last=None)
    recalled = replace(loan, id="R-6K2M4Q9XW3T6", title="史記", wire_id="w-5", bib_id="x5", item_barcode="X5")
    recalled = replace(recalled, recalled_on=today - DAY, due=today + 6 * DAY, renewals=1)
    late = replace(loan, id="R-7K2M4Q9XW3T7", title="The Structure of Scientific Revolutions", wire_id="w-6", bib_id="x6")
    late = replace(late, item_barcode="X6", due=today - 3 * DAY, renewals=2)
    past = replace(
        loan, id="R-8K2M4Q9XW3T8", position=P.CLOSED, title="三國演義", wire_id="w-7", bib_id="x7", item_barcode="X7"
    )
    for request in (bare, shipped, here, loan, recalled, late, past):
        unit.open(request, at - DAY, WORLD)
    fines.charge(unit, past, "overdue", 1250, "R40", at - DAY, WORLD)
    fines.charge(unit, past, "damage", 8000, "R45", at - DAY, WORLD)


@pytest.fixture(scope="module")
def site(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a busy patron, and a partner with its own pages."""
    made = Gateway(reactor, tmp_path_factory.mktemp("patron"), policy="[renewal]\nwindow_days = 7\n", pages=True)
    text = made.path.read_text(encoding="utf-8")
    made.path.write_text(
        text.replace('agency = "CUHK"\n', f'agency = "CUHK"\ndiscovery_url = "{ELSEWHERE}"\n', 1), encoding="utf-8"
    )
    made.plant(plant)
    made.start()
    yield made
    made.end()


def go(driver: WebDriver, gateway: Gateway, path: str) -> None:
    driver.get(f"http://127.0.0.1:{gateway.ports.web}{path}")


def log_in(driver: WebDriver, gateway: Gateway, card: str, language: str = "English") -> None:
    go(driver, gateway, "/login")
    speak(driver, language, WORDS[language]["login"])
    driver.find_element(By.NAME, "barcode").send_keys(card)
    driver.find_element(By.NAME, "pin").send_keys(PIN, Keys.ENTER)
    wait_for(driver, WORDS[language]["record"])


def speak(driver: WebDriver, language: str, heading: str) -> None:
    driver.find_element(By.LINK_TEXT, language).click()
    wait_for(driver, heading)


def text(driver: WebDriver, selector: str = "main") -> str:
    return driver.find_element(By.CSS_SELECTOR, selector).text


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["English", "繁體中文"])
@pytest.mark.parametrize("size", SIZES)
def test_each_page_fits_its_screen_and_passes_accessibility_checks(
    site: Gateway, size: str, language: str, scheme: str
) -> None:
    driver, name = chromium(SIZES[size], scheme), f"{size}-{language}-{scheme}"
    try:
        go(driver, site, f"/title/{BIB}/request")
        speak(driver, language, WORDS[language]["request"])
        keep(driver, f"request-{name}")
        Select(driver.find_element(By.NAME, "home_library")).select_by_value("CUHK")
        driver.find_element(By.CSS_SELECTOR, "form.request button").click()
        until(
            lambda: driver.find_elements(By.CSS_SELECTOR, f"main a.primary[href='{ELSEWHERE}']"), "the way to the other library"
        )
        keep(driver, f"request-elsewhere-{name}")
        go(driver, site, f"/title/{NOT_REQUESTABLE}/request")
        assert driver.find_elements(By.CSS_SELECTOR, "main form") == []
        keep(driver, f"request-no-{name}")
        go(driver, site, "/login")
        keep(driver, f"patron-login-{name}")
        driver.find_element(By.NAME, "barcode").send_keys("NOBODY")
        driver.find_element(By.NAME, "pin").send_keys("0", Keys.ENTER)
        until(lambda: driver.find_elements(By.CSS_SELECTOR, "main [role='alert']"), "the refusal")
        keep(driver, f"patron-login-wrong-{name}")
        log_in(driver, site, BUSY, language)
        keep(driver, f"record-{name}")
        go(driver, site, "/record/history")
        keep(driver, f"history-{name}")
        go(driver, site, f"/title/{BIB}/request")
        keep(driver, f"request-known-{name}")
        go(driver, site, "/logout")
        keep(driver, f"patron-logout-{name}")
        driver.find_element(By.CSS_SELECTOR, "main form button").click()
        wait_for(driver, WORDS[language]["login"])
        keep(driver, f"patron-left-{name}")
        log_in(driver, site, "P0009", language)
        keep(driver, f"record-empty-{name}")
        assert [line for line in messages(driver) if "Content Security Policy" in line] == []
    finally:
        driver.quit()


def test_patron_requests_and_cancels_by_keyboard_and_without_scripts(site: Gateway) -> None:
    driver = chromium(SIZES["phone"], script=False)
    try:
        go(driver, site, f"/title/{BIB}/request")
        driver.find_element(By.NAME, "barcode").send_keys(CARD)
        driver.find_element(By.NAME, "pin").send_keys(PIN, Keys.ENTER)
        wait_for(driver, "My circulation record")
        assert "Your request is placed." in text(driver)
        assert "HKALL REQUESTD" in text(driver, "tr[data-request]") or "TRANSFERRED" in text(driver, "tr[data-request]")
        assert CARD not in driver.current_url
        driver.back()
        wait_for(driver, "Request this title")
        assert "You have requested this title already." in text(driver)
        driver.find_element(By.LINK_TEXT, "Look at your record").send_keys(Keys.ENTER)
        wait_for(driver, "My circulation record")
        assert len(driver.find_elements(By.CSS_SELECTOR, "tr[data-request]")) == 1
    finally:
        driver.quit()


def test_patron_renews_and_cancels_in_the_record(site: Gateway) -> None:
    driver = chromium(SIZES["desk"])
    try:
        log_in(driver, site, BUSY)
        driver.find_element(By.CSS_SELECTOR, "[data-request='R-5K2M4Q9XW3T5'] button").click()
        wait_for(driver, "My circulation record")
        assert "Renewed: due on" in text(driver)
        driver.find_element(By.CSS_SELECTOR, "[data-request='R-2K2M4Q9XW3T2'] button").click()
        driver.switch_to.alert.dismiss()  # asked first, and not yet
        assert "HKALL REQUESTD" in text(driver, "[data-request='R-2K2M4Q9XW3T2']")
        driver.find_element(By.CSS_SELECTOR, "[data-request='R-2K2M4Q9XW3T2'] button").click()
        driver.switch_to.alert.accept()
        wait_for(driver, "My circulation record")
        assert "The request is cancelled." in text(driver)
        keep(driver, "record-after-desk-English-light")
    finally:
        driver.quit()


@pytest.mark.parametrize("script", [True, False])
def test_next_patron_in_the_same_browser_sees_no_data_of_the_previous_patron(site: Gateway, script: bool) -> None:
    driver = chromium(SIZES["desk"], script=script)
    try:
        log_in(driver, site, BUSY)
        assert "資治通鑑" in driver.page_source
        for path in ("/help", "/record?again=1"):  # Chromium keeps each page that is left, in spite of no-store
            go(driver, site, path)
        driver.find_element(By.CSS_SELECTOR, "header form button").click()
        wait_for(driver, "Log in")
        for _ in range(3):
            driver.back()
            until(lambda: "/logout" not in driver.page_source, "a page of nobody")
            assert "資治通鑑" not in driver.page_source
        log_in(driver, site, "P0009")
        assert "資治通鑑" not in driver.page_source
    finally:
        driver.quit()
