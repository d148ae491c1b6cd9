"""The documentation site in Chromium: its search finds English and Chinese words (`make test-browser`, after `make site`)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from tests.web.test_browser import SIZES, chromium

SITE = Path(__file__).parents[2] / "var" / "site"

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not SITE.exists(), reason="make site was not run")]


@pytest.fixture(scope="module")
def driver() -> Iterator[WebDriver]:
    made = chromium(SIZES["desk"])
    yield made
    made.quit()


def found(driver: WebDriver, query: str) -> str:
    """The pages and sections found by a query."""
    driver.get(f"{SITE.as_uri()}/search.html?q={quote(query)}")
    waiting = WebDriverWait(driver, 20)
    waiting.until(lambda page: "finished" in _summary(page) or "did not match" in _summary(page))
    return " ".join(item.text for item in driver.find_elements(By.CSS_SELECTOR, "ul.search li"))


def _summary(driver: WebDriver) -> str:
    return driver.find_element(By.ID, "search-results").text


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("restoring backups", "Running the gateway"),
        ("最後領取日期", "Letters"),
        ("歸還", "Letters"),
    ],
)
def test_documentation_search_finds_a_page(driver: WebDriver, query: str, page: str) -> None:
    assert page.casefold() in found(driver, query).casefold()


def test_search_without_results_says_so(driver: WebDriver) -> None:
    assert found(driver, "龍鳳呈祥") == ""


def test_folder_url_opens_its_index_page(driver: WebDriver) -> None:
    driver.get(f"{SITE.as_uri()}/index.html")
    WebDriverWait(driver, 20).until(lambda page: page.find_element(By.TAG_NAME, "h1").text.startswith("hkall_gateway"))
