"""Chromium on the pages of a running gateway: `make test-browser`. Its driver comes from Debian (chromium-driver)."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

from demo import demo_setup
from tests.company import Gateway, until

pytestmark = pytest.mark.browser

DRIVER = "/usr/bin/chromedriver"
SHOTS = Path(os.environ.get("HKALL_SCREENSHOTS", "var/screenshots"))
"""The folder for screenshots of each page."""
AXE = Path("var/node_modules/axe-core/axe.min.js")
"""The script that checks the accessibility of a page, which `make test-browser` installs."""
SIZES = {"narrow": 320, "phone": 390, "desk": 1280}


PAGES = {"login": "/staff/login", "help": "/help", "help-api": "/help/api", "no-page": "/nowhere"}
"""Pages that need no login."""


@pytest.fixture(scope="module")
def gateway(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path_factory.mktemp("browser"), pages=True)
    made.start()
    yield made
    made.end()


def chromium(width: int, scheme: str = "light", *, script: bool = True) -> WebDriver:
    options = webdriver.ChromeOptions()
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(word)
    if not script:
        options.add_experimental_option("prefs", {"profile.managed_default_content_settings.javascript": 2})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    screen = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    return driver


def messages(driver: WebDriver) -> list[str]:
    """The warnings and errors of the browser console."""
    found: Any = driver  # Chromium's own method, which the types do not know
    return [line["message"] for line in found.get_log("browser")]


def violations(driver: WebDriver) -> list[tuple[str, list[str]]]:
    """The rules of axe that the page breaks, each with the elements that break it."""
    driver.execute_script(AXE.read_text(encoding="utf-8"))
    found = driver.execute_async_script("axe.run().then(arguments[arguments.length - 1])")
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found["violations"]]


def keep(driver: WebDriver, name: str) -> None:
    """Save a screenshot, at most three screens long; the page must fit its screen and pass axe."""
    wide, inner, high = driver.execute_script(
        "return [document.documentElement.scrollWidth, innerWidth, document.documentElement.scrollHeight]"
    )
    assert wide <= inner, f"{name} is {wide - inner} pixels wider than its screen"
    SHOTS.mkdir(parents=True, exist_ok=True)
    clip = {"x": 0, "y": 0, "width": inner, "height": min(high, 2400), "scale": 1}
    found: Any = driver  # Chromium's own method, which the types do not know
    told = found.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
    (SHOTS / f"{name}.png").write_bytes(base64.b64decode(told["data"]))
    assert violations(driver) == [], name


def log_in(driver: WebDriver, gateway: Gateway) -> None:
    driver.get(f"http://127.0.0.1:{gateway.ports.web}/staff/")
    driver.find_element(By.NAME, "login").send_keys(demo_setup.STAFF[0]["login"])
    driver.find_element(By.NAME, "password").send_keys(demo_setup.PASSWORD)
    driver.find_element(By.CSS_SELECTOR, "main button").click()
    # The click does not wait: a page asked for meanwhile would be replaced by the one after the login.
    WebDriverWait(driver, 20).until(lambda found: "/staff/login" not in found.current_url)


def shown(driver: WebDriver, text: str) -> None:
    """Wait until the page shows this; the previous page may be replaced while it is read."""
    waiting = WebDriverWait(driver, 20, ignored_exceptions=[WebDriverException])
    waiting.until(lambda found: text in found.find_element(By.TAG_NAME, "main").text)


def wait_for(driver: WebDriver, heading: str) -> None:
    """Wait for the page with this heading, and for its script; the previous page may be replaced while it is read."""
    waiting = WebDriverWait(driver, 20, ignored_exceptions=[WebDriverException])
    waiting.until(lambda found: found.find_element(By.TAG_NAME, "h1").text == heading)
    waiting.until(lambda found: found.execute_script("return document.readyState") == "complete")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["English", "繁體中文"])
@pytest.mark.parametrize("size", SIZES)
def test_clerk_logs_in_and_sees_the_first_page(gateway: Gateway, size: str, language: str, scheme: str) -> None:
    driver = chromium(SIZES[size], scheme)
    try:
        driver.get(f"http://127.0.0.1:{gateway.ports.web}/staff/login")
        driver.find_element(By.LINK_TEXT, language).click()
        words = {"English": ("Staff login", "Today"), "繁體中文": ("職員登入", "今日")}[language]
        for name, path in PAGES.items():
            driver.get(f"http://127.0.0.1:{gateway.ports.web}{path}")
            keep(driver, f"{name}-{size}-{language}-{scheme}")
        log_in(driver, gateway)
        wait_for(driver, words[1])
        keep(driver, f"today-{size}-{language}-{scheme}")
        assert [line for line in messages(driver) if "Content Security Policy" in line] == []
        driver.find_element(By.CSS_SELECTOR, "header form button").click()
        wait_for(driver, words[0])
    finally:
        driver.quit()


def test_axe_reports_a_field_without_a_label() -> None:
    driver = chromium(1280)
    try:
        driver.get("data:text/html,<!doctype html><html lang=en><title>t</title><main><h1>t</h1><input></main>")
        assert [rule for rule, _ in violations(driver)] == ["label"]
    finally:
        driver.quit()


def test_pages_work_without_scripts(gateway: Gateway) -> None:
    driver = chromium(1180, script=False)
    try:
        log_in(driver, gateway)
        wait_for(driver, "Today")
        driver.find_element(By.LINK_TEXT, "繁體中文").click()
        wait_for(driver, "今日")
        driver.find_element(By.CSS_SELECTOR, "header form button").click()
        wait_for(driver, "職員登入")
        assert driver.get_cookie("__Host-hkall") is None
    finally:
        driver.quit()


def test_counts_refresh_automatically(gateway: Gateway) -> None:
    driver = chromium(1180)
    try:
        log_in(driver, gateway)
        wait_for(driver, "Today")
        driver.execute_script("document.querySelector('[data-refresh]').innerHTML = 'old'")
        until(lambda: "old" not in driver.find_element(By.TAG_NAME, "main").text, "the refreshed part")
        assert "To send home" in driver.find_element(By.TAG_NAME, "main").text
        wait_for(driver, "Today")
    finally:
        driver.quit()


def test_first_tab_skips_the_menu(gateway: Gateway) -> None:
    driver = chromium(1180)
    try:
        driver.get(f"http://127.0.0.1:{gateway.ports.web}/help")
        driver.switch_to.active_element.send_keys("\t")
        focused = driver.switch_to.active_element
        assert focused.text == "Skip to content"
        focused.send_keys("\n")
        assert driver.switch_to.active_element.tag_name == "main"
    finally:
        driver.quit()
