"""Chromium on the supervisor pages: undelivered messages, closures, a patron; both languages and colour schemes, with axe."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from demo import demo_setup
from hkall_gateway.clock import now
from hkall_gateway.db import fines, quarantine
from hkall_gateway.db.loads import loading
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.lifecycle import Notification
from hkall_gateway.rules.messages.outbox_messages import PartnerMessage, PatronNotice
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from tests.company import Gateway, until
from tests.web.test_browser import SIZES, chromium, keep, messages, shown, wait_for

pytestmark = pytest.mark.browser

P = Position
WORLD = Actor(who="world", channel="world")
DAY = timedelta(days=1)
LOAN, WANTED = "R-7K2M4Q9XW3TD", "R-8K2M4Q9XW3TE"


def plant(unit: UnitOfWork) -> None:
    """Insert dead letters, a bounced letter, a quarantined document, and a loan with a fine."""
    at, today = now(), civil(now())
    loan = Request(
        id=LOAN,
        side=Side.BORROWING,
        position=P.ON_LOAN,
        title="聊齋志異",
        bib_id="b9001",
        partner="CUHK",
        patron="P0002",
        item_agency="CUHK",
    )
    loan = replace(loan, item_barcode="C1", wire_agency="HKU", wire_id="w-1", pickup_location=demo_setup.LOCATION)
    loan = replace(loan, placed_at=at - 9 * DAY, moved_at=at - 5 * DAY, loan_days=15, used=True, due=today + 3 * DAY)
    wanted = replace(loan, id=WANTED, position=P.REQUESTED, item_barcode="", title="香港天橋漫步", wire_id="w-2", due=None)
    for request in (loan, wanted):
        unit.open(request, at - 5 * DAY, WORLD)
    fines.charge(unit, loan, "overdue", 1250, "R40", at - DAY, WORLD)
    error = "unknown: no answer within 30 s; tried at https://ncip.lib.example.edu.hk/ncip/responder?version=2"
    for send in (Notification.ASK_LENDER, Notification.CANCEL_AT_LENDER):
        unit.outbox.put(
            send,
            PartnerMessage(send=send.value, request=WANTED, partner="CUHK", wire_agency="HKU", wire_id="w-2", at=at),
            "",
            at - DAY,
        )
    unit.outbox.put(
        Notification.LETTER_PICKUP,
        PatronNotice(send="letter_pickup", request=LOAN, patron="P0002", title="聊齋志異", at=at),
        "",
        at - DAY,
    )
    for row in unit.outbox.rows():
        unit.outbox.mark_dead(row.id, error)
    document = "<NCIPMessage>\n  <ItemShipped>\n    <UserId>•</UserId>\n  </ItemShipped>\n</NCIPMessage>"
    for n in range(3):
        quarantine.keep(unit, "CUHK", f"digest{n}", "ItemShipped", document, Reason.UNKNOWN_REQUEST.value, at)
    loading.add_closure(unit, "HKU", today + 30 * DAY, "Good Friday")


@pytest.fixture(scope="module")
def desk(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with unsettled rows."""
    made = Gateway(reactor, tmp_path_factory.mktemp("supervisor"), pages=True)
    made.plant(plant)
    made.start()
    yield made
    made.end()


def log_in(driver: WebDriver, gateway: Gateway, language: str = "English") -> None:
    driver.get(f"http://127.0.0.1:{gateway.ports.web}/staff/login")
    if language != "English":
        driver.find_element(By.LINK_TEXT, language).click()
        wait_for(driver, "職員登入")
    driver.find_element(By.NAME, "login").send_keys("head")
    driver.find_element(By.NAME, "password").send_keys(demo_setup.PASSWORD, Keys.ENTER)
    wait_for(driver, {"English": "Today", "繁體中文": "今日"}[language])


def go(driver: WebDriver, gateway: Gateway, path: str) -> None:
    driver.get(f"http://127.0.0.1:{gateway.ports.web}{path}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["English", "繁體中文"])
@pytest.mark.parametrize("size", SIZES)
def test_each_page_fits_its_screen_and_passes_accessibility_checks(
    desk: Gateway, size: str, language: str, scheme: str
) -> None:
    driver = chromium(SIZES[size], scheme)
    try:
        log_in(driver, desk, language)
        for kind in ("dead", "quarantine"):
            go(driver, desk, f"/staff/unsent?kind={kind}")
            driver.find_element(By.CSS_SELECTOR, "main summary").click()
            keep(driver, f"unsent-{kind}-{size}-{language}-{scheme}")
        go(driver, desk, "/staff/closures")
        keep(driver, f"closures-{size}-{language}-{scheme}")
        driver.execute_script("document.querySelector('#day').value = arguments[0]", str(civil(now()) + 3 * DAY))
        driver.find_element(By.ID, "close-reason").send_keys("typhoon", Keys.ENTER)
        wait_for(driver, {"English": "Closures", "繁體中文": "休館"}[language])
        keep(driver, f"closures-effect-{size}-{language}-{scheme}")
        go(driver, desk, "/staff/patrons")
        keep(driver, f"patrons-{size}-{language}-{scheme}")
        driver.find_element(By.NAME, "q").send_keys("P0002", Keys.ENTER)
        shown(driver, LOAN)
        driver.find_element(By.CSS_SELECTOR, f"[data-request='{LOAN}'] summary").send_keys(Keys.ENTER)
        until(lambda: driver.switch_to.active_element.get_attribute("name") == "dollars", "the focus on the price")
        driver.find_element(By.ID, "q").send_keys("9001", Keys.ENTER)
        shown(driver, LOAN)
        driver.find_element(By.CSS_SELECTOR, f"[data-request='{LOAN}'] summary").send_keys(Keys.ENTER)
        keep(driver, f"patron-{size}-{language}-{scheme}")
        assert [line for line in messages(driver) if "Content Security Policy" in line] == []
    finally:
        driver.quit()


def test_dead_letter_is_settled_by_keyboard_and_without_scripts(desk: Gateway) -> None:
    driver = chromium(SIZES["desk"], script=False)
    try:
        log_in(driver, desk)
        go(driver, desk, "/staff/unsent?kind=quarantine")
        rows = len(driver.find_elements(By.CSS_SELECTOR, "[data-row]"))
        driver.find_element(By.NAME, "row").send_keys(" ")
        driver.find_element(By.NAME, "reason").send_keys("meant for another library")
        driver.find_element(By.CSS_SELECTOR, "button[value='drop']").send_keys(Keys.ENTER)
        shown(driver, "1 row is settled.")
        assert len(driver.find_elements(By.CSS_SELECTOR, "[data-row]")) == rows - 1
        assert "meant for another library" not in driver.current_url
    finally:
        driver.quit()


@pytest.mark.parametrize(("size", "language", "scheme"), [("phone", "English", "light"), ("desk", "繁體中文", "dark")])
def test_login_offers_the_library_account_first(reactor: Any, tmp_path: Path, size: str, language: str, scheme: str) -> None:
    made = Gateway(reactor, tmp_path, pages=True)
    more = '[web.oidc]\nissuer = "http://127.0.0.1:9"\nclient_id = "hkall"\nclient_secret_env = "HKALL_OIDC_SECRET"\n'
    made.path.write_text(f"{made.path.read_text(encoding='utf-8')}\n{more}", encoding="utf-8")
    made.environ["HKALL_OIDC_SECRET"] = "s3cret"
    driver = chromium(SIZES[size], scheme)
    try:
        made.start()
        go(driver, made, "/staff/login?left=oidc")
        driver.find_element(By.LINK_TEXT, language).click()
        wait_for(driver, {"English": "Staff login", "繁體中文": "職員登入"}[language])
        keep(driver, f"login-sso-{size}-{language}-{scheme}")
        driver.find_element(By.CSS_SELECTOR, "main a.primary").click()
        wait_for(driver, {"English": "Staff login", "繁體中文": "職員登入"}[language])
        assert driver.find_element(By.CSS_SELECTOR, "main [role='alert']").text
    finally:
        driver.quit()
        made.end()


def test_double_click_places_one_request_and_a_second_one_is_asked_about(desk: Gateway) -> None:
    driver = chromium(SIZES["desk"])

    def request_title(how: Callable[[WebElement], object]) -> None:
        go(driver, desk, "/staff/patrons")
        driver.find_element(By.NAME, "q").send_keys("P0003", Keys.ENTER)
        shown(driver, "Place a request")
        driver.find_element(By.ID, "q").send_keys("Lantern", Keys.ENTER)
        how(WebDriverWait(driver, 20).until(lambda found: found.find_element(By.CSS_SELECTOR, "button[name=bib_id]")))

    try:
        log_in(driver, desk)
        request_title(lambda button: ActionChains(driver).double_click(button).perform())
        shown(driver, "The request is placed:")
        assert len(driver.find_elements(By.CSS_SELECTOR, "tr[data-request]")) == 1
        request_title(lambda button: button.send_keys(Keys.ENTER))
        shown(driver, "has asked for it:")
        keep(driver, "patron-asked-already")
        assert len(driver.find_elements(By.CSS_SELECTOR, "tr[data-request]")) == 1
        driver.find_element(By.NAME, "another").send_keys(Keys.ENTER)
        shown(driver, "The request is placed:")
        assert len(driver.find_elements(By.CSS_SELECTOR, "tr[data-request]")) == 2
    finally:
        driver.quit()
