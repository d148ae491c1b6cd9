"""Chromium on the visitors' pages of a running gateway, and curl for the cache headers."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver

from demo import demo_setup
from hkall_gateway.db.search.searching import MOST
from hkall_gateway.rules.vocabulary import Holding
from tests.company import Gateway, until
from tests.web.test_browser import SIZES, chromium, keep, messages, wait_for
from tests.web.test_lists_browser import at

pytestmark = pytest.mark.browser

TITLES = {title.title: title.bib_id for title in demo_setup.invented_titles()}
PAGES = {
    "home": "/",
    "search-empty": "/search",
    "search": "/search?q=hong+kong",
    "search-chinese": "/search?q=%E9%A6%99%E6%B8%AF",
    "search-narrowed": "/search?q=hong+kong&library=CUHK&sort=year",
    "search-did-you-mean": "/search?q=statistcs",
    "search-nothing": "/search?q=zzzz&field=title&available=1",
    "search-bad": "/search?q=9780306406158&field=isbn",
    "title": f"/title/{TITLES['Rooftop Cities: Living High in Hong Kong']}",
    "title-chinese": f"/title/{TITLES['Xianggang san bu di tu']}",
    "title-at-home": f"/title/{TITLES['A Short Grammar of Written Cantonese']}",
    "title-out": f"/title/{TITLES['Statistics for People in a Hurry']}",
    "title-volumes": f"/title/{TITLES[demo_setup.A_SET]}",
}


@pytest.fixture(scope="module")
def catalogue(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with the titles of the demo, and the parts of a work in more parts than a search ranks."""
    made = Gateway(reactor, tmp_path_factory.mktemp("catalogue"), pages=True)
    many = [
        Holding(
            agency="LU" if n % 2 else "CUHK",
            barcode=f"Z{n}",
            bib_id=f"z{n}",
            title=f"Zymurgy, part {n}",
            status="On Loan" if n % 3 else "Available On Shelf",
        )
        for n in range(MOST + 30)
    ]
    demo_setup.fill_catalogue(made.path, made.environ, [*demo_setup.invented_copies(), *many])
    made.start()
    yield made
    made.end()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["English", "繁體中文"])
@pytest.mark.parametrize("size", SIZES)
def test_each_page_fits_its_screen(catalogue: Gateway, size: str, language: str, scheme: str) -> None:
    driver = chromium(SIZES[size], scheme)
    try:
        driver.get(at(catalogue, "/"))
        driver.find_element(By.LINK_TEXT, language).click()
        for name, path in PAGES.items():
            driver.get(at(catalogue, path))
            keep(driver, f"patron-{name}-{size}-{language}-{scheme}")
        assert [line for line in messages(driver) if "Content Security Policy" in line] == []
    finally:
        driver.quit()


def _type(driver: WebDriver, words: str) -> None:
    box = driver.find_element(By.NAME, "q")
    box.clear()
    box.send_keys(words + "\n")


@pytest.mark.parametrize("script", [True, False], ids=["with scripts", "without scripts"])
def test_patron_finds_a_title_by_keyboard_alone(catalogue: Gateway, script: bool) -> None:
    driver = chromium(320, script=script)
    try:
        driver.get(at(catalogue, "/"))
        assert driver.switch_to.active_element.get_attribute("name") == "q"
        _type(driver, "统计学图解")
        wait_for(driver, "Search HKALL")
        (link,) = driver.find_elements(By.CSS_SELECTOR, "[data-title] a")
        link.send_keys("\n")
        wait_for(driver, "統計學圖解")
        button = driver.find_element(By.LINK_TEXT, "Request this title")
        assert button.get_attribute("href") == at(catalogue, f"/title/{TITLES['統計學圖解']}/request")
        driver.back()
        wait_for(driver, "Search HKALL")
        assert driver.find_element(By.NAME, "q").get_attribute("value") == "统计学图解"
        driver.find_element(By.LINK_TEXT, "繁體中文").click()
        wait_for(driver, "搜尋 HKALL")
        assert driver.find_element(By.NAME, "q").get_attribute("value") == "统计学图解"
    finally:
        driver.quit()


def test_filter_shows_only_available_titles(catalogue: Gateway) -> None:
    driver = chromium(1180)

    def found() -> set[str]:
        return {str(one.get_attribute("data-title")) for one in driver.find_elements(By.CSS_SELECTOR, "[data-title]")}

    try:
        driver.get(at(catalogue, "/search?q=statistics"))
        all_titles = found()
        driver.find_element(By.NAME, "available").send_keys(" ")
        driver.find_element(By.CSS_SELECTOR, "main button").click()
        until(lambda: "available=1" in driver.current_url, "the page of the filter")
        assert found() < all_titles
        assert driver.find_element(By.NAME, "available").is_selected()
        assert not driver.find_elements(By.XPATH, "//*[.='No copy available now']")
    finally:
        driver.quit()


def test_available_titles_of_many_are_counted_after_the_page(catalogue: Gateway) -> None:
    driver = chromium(1180)
    try:
        driver.get(at(catalogue, "/search?q=zymurgy"))
        number = driver.find_element(By.CSS_SELECTOR, "[data-titles-of]")
        until(lambda: number.text, "the number of available titles")
        assert number.text == "110"
        driver.find_element(By.LINK_TEXT, "Available now").click()
        until(lambda: "available=1" in driver.current_url, "the page of the filter")
        assert driver.find_element(By.CSS_SELECTOR, ".counted").text.split()[0] == "110"
    finally:
        driver.quit()


def test_search_form_on_another_site_opens_the_results(catalogue: Gateway) -> None:
    """The snippet of docs/web.md, on a page of another site."""
    driver = chromium(1180)
    try:
        form = f'<form action="{at(catalogue, "/search")}"><input name="q" value="統計學"><button>Search HKALL</button></form>'
        driver.get(f"data:text/html;charset=utf-8,{form}")
        driver.find_element(By.TAG_NAME, "button").click()
        wait_for(driver, "Search HKALL")
        assert len(driver.find_elements(By.CSS_SELECTOR, "[data-title]")) == 1
    finally:
        driver.quit()


@pytest.mark.skipif(not shutil.which("curl"), reason="apt install curl")
@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/title/d001", "public, max-age=60"),
        ("/search?q=x", "private, max-age=60"),
        ("/opensearch.xml", "public, max-age=86400"),
    ],
)
def test_curl_gets_cache_headers_and_no_cookie(catalogue: Gateway, path: str, kept: str) -> None:
    asked = ["curl", "--silent", "--show-error", "--fail", "--dump-header", "-", "--output", "/dev/null", at(catalogue, path)]
    told = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in told.splitlines()[1:])}
    assert headers["cache-control"] == kept
    assert "set-cookie" not in headers
    assert headers["referrer-policy"] == "no-referrer"
    assert "default-src 'self'" in headers["content-security-policy"]
