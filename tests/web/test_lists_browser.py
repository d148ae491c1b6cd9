"""Chromium on the lists, slips, partners, terminals and statistics of a running gateway with many requests."""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from demo.socket_terminal import call
from hkall_gateway.clock import now
from hkall_gateway.config import gateway as config
from hkall_gateway.db.engine.connect import open_engine
from hkall_gateway.web.staff.slips import PAPERS
from tests import bulk, open_work
from tests.company import Gateway, until
from tests.web.test_browser import SHOTS, SIZES, chromium, keep, log_in, messages, wait_for

pytestmark = pytest.mark.browser

PAGES = {
    "today": "/staff/",
    "keys": "/staff/keys",
    "list-pull": "/staff/lists/pull",
    "list-overdue": "/staff/lists/overdue",
    "list-stuck": "/staff/lists/stuck",
    "slips": "/staff/slips?list=shelf",
    "partners": "/staff/partners",
    "terminals": "/staff/terminals",
    "statistics": "/staff/statistics",
}


@pytest.fixture(scope="module")
def counter(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with open requests in every position, years of ended ones, and a logged-in terminal."""
    made = Gateway(reactor, tmp_path_factory.mktemp("lists"), pages=True)
    engine = open_engine(config.load(made.path, made.environ).database.url)
    bulk.fill(engine, bulk.Amounts(requests=3_000, lines=2, days=400), now())
    open_work.fill(engine, 400, now())
    engine.dispose()
    made.start()
    terminal = made.counter()
    made.ask(terminal, "9900302.00")
    yield made
    del terminal
    made.end()


def at(counter: Gateway, path: str) -> str:
    return f"http://127.0.0.1:{counter.ports.web}{path}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("language", ["English", "繁體中文"])
@pytest.mark.parametrize("size", SIZES)
def test_each_page_fits_its_screen(counter: Gateway, size: str, language: str, scheme: str) -> None:
    driver = chromium(SIZES[size], scheme)
    try:
        log_in(driver, counter)
        wait_for(driver, "Today")
        driver.find_element(By.LINK_TEXT, language).click()
        for name, path in PAGES.items():
            driver.get(at(counter, path))
            driver.execute_script("document.querySelector('.more').open = arguments[0]", name == "today")
            keep(driver, f"{name}-{size}-{language}-{scheme}")
        driver.get(at(counter, PAGES["list-pull"]))
        for box in driver.find_elements(By.NAME, "request")[:3]:
            box.send_keys(" ")
        driver.find_element(By.CSS_SELECTOR, "main button.primary").send_keys("\n")
        until(lambda: "/selected" in driver.current_url, "the page of the selected rows")
        keep(driver, f"selected-{size}-{language}-{scheme}")
        driver.get(at(counter, "/staff/lists/on-loan"))
        driver.find_element(By.NAME, "request").send_keys(" ")
        driver.find_element(By.CSS_SELECTOR, "button[value=renew]").send_keys("\n")
        until(lambda: driver.current_url.endswith("/act"), "the outcomes")
        keep(driver, f"outcomes-{size}-{language}-{scheme}")
        assert [line for line in messages(driver) if "Content Security Policy" in line] == []
    finally:
        driver.quit()


def test_rows_are_selected_and_changed_by_keyboard_and_without_scripts(counter: Gateway) -> None:
    driver = chromium(1180, script=False)
    try:
        log_in(driver, counter)
        driver.get(at(counter, "/staff/lists/pull"))
        boxes = driver.find_elements(By.NAME, "request")[:2]
        numbers = [box.get_attribute("value") for box in boxes]
        for box in boxes:
            box.send_keys(" ")
        driver.find_element(By.CSS_SELECTOR, "main button.primary").send_keys("\n")
        wait_for(driver, "2 requests selected")
        driver.find_element(By.CSS_SELECTOR, "button[value=ship]").send_keys("\n")
        wait_for(driver, "Ship: 2 of 2")
        rows = driver.find_elements(By.CSS_SELECTOR, "[data-outcome=ok]")
        assert [row.get_attribute("data-request") for row in rows] == numbers
    finally:
        driver.quit()


def test_all_rows_of_a_page_are_selected_at_once(counter: Gateway) -> None:
    driver = chromium(1180)
    try:
        log_in(driver, counter)
        driver.get(at(counter, "/staff/lists/on-loan"))
        driver.find_element(By.ID, "all").send_keys(" ")
        assert all(box.is_selected() for box in driver.find_elements(By.NAME, "request"))
    finally:
        driver.quit()


def test_arrow_keys_move_between_rows_and_tab_leaves_the_list(counter: Gateway) -> None:
    driver = chromium(1180)
    try:
        log_in(driver, counter)
        driver.get(at(counter, "/staff/lists/on-loan"))
        boxes = driver.find_elements(By.NAME, "request")
        boxes[0].send_keys(Keys.ARROW_DOWN)
        driver.switch_to.active_element.send_keys(Keys.ARROW_DOWN, " ")
        assert [box.is_selected() for box in boxes[:4]] == [False, False, True, False]
        for _ in range(2):  # the title of the row, then the bar
            driver.switch_to.active_element.send_keys(Keys.TAB)
        assert driver.switch_to.active_element.get_attribute("id") == "all"
        stops = driver.find_elements(By.CSS_SELECTOR, ".list tbody :is(a, input):not([tabindex='-1'])")
        assert len(stops) == 2
    finally:
        driver.quit()


def test_terminal_page_shows_session_last_message_and_refused_login(counter: Gateway) -> None:
    stranger = counter.do(lambda: call(counter._reactor, counter.ports.sip2))
    assert counter.ask(stranger, "9300CNselfcheck-1|COwrong|") == "940"
    driver = chromium(1180)

    def words(terminal: str) -> str:
        driver.get(at(counter, "/staff/terminals"))
        return "".join(row.text for row in driver.find_elements(By.CSS_SELECTOR, f"tr[data-terminal='{terminal}']"))

    try:
        log_in(driver, counter)
        until(lambda: "wrong password" in words("selfcheck-1"), "the next heartbeat")
        assert "1 open" in words("counter-1")
        assert "Status" in words("counter-1")
        assert "None" in words("selfcheck-1")
    finally:
        driver.quit()


# ---- on paper


def pdf(driver: WebDriver, file: Path) -> None:
    """Print the page as PDF, on the paper of its print style sheet."""
    found: Any = driver
    told = found.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": False})
    file.write_bytes(base64.b64decode(told["data"]))


def barcodes(file: Path, page: int) -> set[str]:
    """Read the barcodes of a page at the resolution of a thermal printer, 203 dpi, with zbar."""
    picture = file.with_name(f"{file.stem}-{page}")
    cut = ["-f", str(page), "-l", str(page), "-r", "203", "-gray", "-png", "-singlefile"]
    subprocess.run(["pdftoppm", *cut, file, picture], check=True, timeout=60)
    read = subprocess.run(
        ["zbarimg", "-q", "--raw", picture.with_suffix(".png")], capture_output=True, text=True, timeout=60, check=False
    )
    return set(read.stdout.split())


def pages_of(file: Path) -> tuple[int, tuple[float, float]]:
    """The number of pages, and the size of a page in millimetres."""
    told = subprocess.run(["pdfinfo", file], capture_output=True, text=True, timeout=60, check=True).stdout
    facts = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    wide, _, high, *_ = facts["Page size"].split()
    return int(facts["Pages"]), (round(float(wide) * 25.4 / 72, 1), round(float(high) * 25.4 / 72, 1))


# fmt: off
SHEETS = {  # millimetres, slips a sheet
    "a6":      ((105.0, 148.0), 1),
    "thermal": ((80.0, 110.0),  1),
    "a4":      ((210.0, 297.0), 4),
}
# fmt: on


def text_of(file: Path, page: int) -> str:
    """The text of a page, line by line."""
    cut = ["-f", str(page), "-l", str(page), "-layout"]
    return subprocess.run(["pdftotext", *cut, file, "-"], capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="apt install poppler-utils")
@pytest.mark.parametrize(("name", "head"), [("pull", "Call number"), ("overdue", "Due")])
def test_printed_list_has_its_heads_on_every_page_and_no_empty_page(counter: Gateway, name: str, head: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    driver, file = chromium(1180, script=False), SHOTS / f"list-{name}.pdf"  # the script would open the print dialog
    try:
        log_in(driver, counter)
        driver.get(at(counter, f"/staff/lists/{name}?print=1"))
        rows = [row.get_attribute("data-request") or "" for row in driver.find_elements(By.CSS_SELECTOR, "tr[data-request]")]
        pdf(driver, file)
    finally:
        driver.quit()
    count, _ = pages_of(file)
    pages = [text_of(file, page) for page in range(1, count + 1)]
    listed = [[number for number in rows if number in page] for page in pages]
    assert len(rows) >= 18  # of 20, a test before may have shipped two
    assert count <= -(-len(rows) // 25)
    assert all(head in page and found for page, found in zip(pages, listed, strict=True))
    assert list(chain.from_iterable(listed)) == rows  # each row once, in the order of the screen


@pytest.mark.skipif(not shutil.which("zbarimg") or not shutil.which("pdftoppm"), reason="apt install zbar-tools poppler-utils")
@pytest.mark.parametrize("paper", PAPERS)
@pytest.mark.parametrize("name", ["pull", "shelf", "to-return"])
def test_printed_barcodes_are_readable(counter: Gateway, paper: str, name: str) -> None:
    SHOTS.mkdir(parents=True, exist_ok=True)
    driver, file = chromium(1180), SHOTS / f"slips-{name}-{paper}.pdf"
    try:
        log_in(driver, counter)
        driver.get(at(counter, f"/staff/lists/{name}"))
        numbers = [row.get_attribute("data-request") for row in driver.find_elements(By.CSS_SELECTOR, "tr[data-request]")][:5]
        driver.get(at(counter, f"/staff/slips?list={name}&paper={paper}&" + "&".join(f"request={n}" for n in numbers)))
        slips = [
            {row.get_attribute("data-request"), row.find_element(By.CSS_SELECTOR, "figcaption strong").text}
            for row in driver.find_elements(By.CSS_SELECTOR, ".slip")
        ]
        pdf(driver, file)
    finally:
        driver.quit()
    size, most = SHEETS[paper]
    count, measured = pages_of(file)
    assert count == -(-len(slips) // most)
    assert all(abs(m - s) < 1 for m, s in zip(measured, size, strict=True)), measured
    for page in range(1, count + 1):
        wanted = set().union(*slips[(page - 1) * most : page * most])
        assert barcodes(file, page) == wanted, f"page {page} of {file.name}"


def test_printed_slip_is_marked_on_the_next_view(counter: Gateway) -> None:
    driver = chromium(1180)
    try:
        log_in(driver, counter)
        for before in (False, True):
            driver.get(at(counter, "/staff/slips?list=to-return"))
            driver.find_element(By.CSS_SELECTOR, "main button.primary").send_keys("\n")
            until(lambda: driver.find_elements(By.CSS_SELECTOR, "[data-print]"), "the printed slips")
            assert bool(driver.find_elements(By.CSS_SELECTOR, ".slip .before")) is before
    finally:
        driver.quit()
