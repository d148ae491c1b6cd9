"""Chromium on a title page: live status appears by itself; without scripts the page shows the loaded status."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from hkall_gateway.rules.vocabulary import Holding
from tests.company import BIB, COPY, Gateway, until
from tests.web.test_browser import SIZES, chromium, keep, messages

pytestmark = pytest.mark.browser

WAIT = {"English": "The libraries are being asked", "繁體中文": "正在向各館查詢"}
OUT = {"English": "Checked out", "繁體中文": "已借出"}


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    """A gateway with a partner that replies slowly that its item is on loan."""
    made = Gateway(reactor, tmp_path, pages=True)
    text = made.path.read_text(encoding="utf-8").replace('agency = "CUHK"', 'agency = "CUHK"\ncan_lookup_items = true')
    made.path.write_text(text, encoding="utf-8")
    cuhk = made.party.partners["CUHK"]
    cuhk.shelf, cuhk.waits_s = (
        (Holding(agency="CUHK", barcode=COPY, bib_id=BIB, title="", status="On Loan", local_bib_id="990090010"),),
        2.0,
    )
    made.do(made.party.start)
    made.start()
    yield made
    made.end()


def status(driver: WebDriver) -> str:
    """The status of the item, read in one step since the row may be replaced meanwhile."""
    return str(driver.execute_script("return document.querySelector('tr[data-agency=CUHK] td:last-child').textContent"))


def shown(driver: WebDriver) -> str:
    return driver.find_element(By.ID, "copies").text


def copies(driver: WebDriver) -> str:
    return str(driver.execute_script("return document.getElementById('copies').textContent"))


@pytest.mark.parametrize(("size", "language", "scheme"), [("phone", "English", "dark"), ("desk", "繁體中文", "light")])
def test_live_status_appears_without_a_reload(gateway: Gateway, size: str, language: str, scheme: str) -> None:
    driver = chromium(SIZES[size], scheme)
    try:
        driver.get(f"http://127.0.0.1:{gateway.ports.web}/help")
        driver.find_element(By.LINK_TEXT, language).click()
        driver.get(f"http://127.0.0.1:{gateway.ports.web}/title/{BIB}")
        assert WAIT[language] in copies(driver)
        assert "AVAILABLE" in status(driver) or language != "English"
        keep(driver, f"title-asking-{size}-{language}-{scheme}")
        until(lambda: OUT[language] in status(driver), "the library's answer")
        assert WAIT[language] not in copies(driver)
        keep(driver, f"title-live-{size}-{language}-{scheme}")
        assert [line for line in messages(driver) if "Content Security Policy" in line] == []
    finally:
        driver.quit()


def test_live_status_appears_on_the_next_view_without_scripts(gateway: Gateway) -> None:
    driver = chromium(1180, script=False)
    try:
        driver.get(f"http://127.0.0.1:{gateway.ports.web}/title/{BIB}")
        assert "AVAILABLE" in shown(driver)
        until(lambda: len(gateway.party.partners["CUHK"].seen) == 1, "the question")

        def looked_again() -> bool:
            driver.refresh()
            return "Checked out" in shown(driver)

        until(looked_again, "the library's answer")
    finally:
        driver.quit()
