"""The published page's whole story in Chromium: a patron, a clerk at the scan station, a simulated lender and terminals.

It runs in both languages, with and without JavaScript, on a phone and a desktop screen, on real sockets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver

from demo import demo_setup
from hkall_gateway.ils.exports import read_patrons
from tests.company import BIB, CARD, COPY, PIN, Gateway, stamp, until
from tests.web.test_browser import SIZES, chromium, keep, messages, wait_for
from tests.web.test_browser import log_in as log_in_staff

pytestmark = pytest.mark.browser

TITLE: Final = "香港天橋漫步"
POLICY: Final = '[renewal]\nwindow_days = 365\nbase = "due_date"\n'
"""Loans can be renewed on their first day, so that the story takes one day."""


@dataclass(frozen=True, slots=True)
class Words:
    """The texts of the pages in one language."""

    request: str
    record: str
    placed: str
    collect: str
    renewed: str
    recalled: str
    empty: str


WORDS: Final = {
    "English": Words(
        "Request this title",
        "My circulation record",
        "Your request is placed.",
        "Collect by",
        "Renewed: due on",
        "Recalled by its library",
        "No HKALL book is on loan to you.",
    ),
    "繁體中文": Words(
        "申請此書", "我的借閱紀錄", "申請已提交。", "領取期限", "已續借，到期日為", "借出館已催還", "您沒有借閱 HKALL 圖書。"
    ),
}


@pytest.fixture
def gateway(reactor: Any, tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(reactor, tmp_path, policy=POLICY, pages=True)
    made.do(made.party.start)
    made.start()
    yield made
    made.end()


class Patron:
    """A patron's browser."""

    def __init__(self, gateway: Gateway, language: str, size: str, *, script: bool) -> None:
        self.driver, self.words = chromium(SIZES[size], script=script), WORDS[language]
        self._base, self._shot = f"http://127.0.0.1:{gateway.ports.web}", f"{size}-{language}-{'script' if script else 'plain'}"
        self._script, self.seen = script, list[str]()
        self.go("/")
        self.driver.find_element(By.LINK_TEXT, language).click()

    def go(self, path: str) -> None:
        self.driver.get(self._base + path)
        self.seen.append(self.driver.current_url)

    def look(self) -> str:
        """The current record."""
        self.go("/record")
        wait_for(self.driver, self.words.record)
        return self.main

    @property
    def main(self) -> str:
        return self.driver.find_element(By.TAG_NAME, "main").text

    def press(self, selector: str) -> None:
        self.driver.find_element(By.CSS_SELECTOR, selector).send_keys(Keys.ENTER)

    def keep(self, name: str) -> None:
        self.seen.append(self.driver.current_url)
        if self._script:  # axe is a script
            keep(self.driver, f"story-{name}-{self._shot}")

    def finds_and_requests(self) -> None:
        self.driver.find_element(By.NAME, "q").send_keys(TITLE, Keys.ENTER)
        found = until(lambda: self.driver.find_elements(By.CSS_SELECTOR, f"main a[href*='/title/{BIB}']"), "the title is found")
        self.keep("1-search")
        found[0].click()
        until(lambda: self.driver.find_elements(By.LINK_TEXT, self.words.request), "the title's page")
        self.keep("2-title")
        self.driver.find_element(By.LINK_TEXT, self.words.request).click()
        wait_for(self.driver, self.words.request)
        self.driver.find_element(By.NAME, "barcode").send_keys(CARD)
        self.driver.find_element(By.NAME, "pin").send_keys(PIN, Keys.ENTER)
        wait_for(self.driver, self.words.record)
        assert self.words.placed in self.main
        self.keep("3-placed")


@dataclass
class Clerk:
    """A clerk at the scan station, with a barcode scanner as keyboard."""

    driver: WebDriver

    @classmethod
    def begins(cls, gateway: Gateway, *, script: bool) -> Clerk:
        clerk = cls(chromium(SIZES["desk"], script=script))
        log_in_staff(clerk.driver, gateway)
        wait_for(clerk.driver, "Today")
        clerk.driver.get(f"http://127.0.0.1:{gateway.ports.web}/staff/scan")
        return clerk

    def scans(self, barcode: str) -> str:
        """The station's result of the newest scan."""
        before = self._said()
        self.driver.switch_to.active_element.send_keys(barcode + Keys.ENTER)
        return str(
            until(lambda: said if barcode in (said := _calm(self._said)) and said != before else "", "the scan's answer")
        )

    def _said(self) -> str:
        return self.driver.find_element(By.CSS_SELECTOR, "[role=status]").text


@pytest.mark.parametrize(
    ("language", "script", "size"),
    [
        ("English", True, "desk"),
        ("English", False, "phone"),
        ("繁體中文", True, "phone"),
        ("繁體中文", False, "desk"),
    ],
)
def test_item_goes_from_search_to_return(gateway: Gateway, language: str, script: bool, size: str) -> None:
    patron, clerk = Patron(gateway, language, size, script=script), Clerk.begins(gateway, script=script)
    try:
        _borrow(gateway, patron, clerk)
        _keep_and_return(gateway, patron, clerk)
        _left_no_trace(gateway, patron)
    finally:
        patron.driver.quit()
        clerk.driver.quit()


def _borrow(gateway: Gateway, patron: Patron, clerk: Clerk) -> None:
    cuhk, words = gateway.party.partners["CUHK"], patron.words
    patron.finds_and_requests()
    (asked,) = until(lambda: cuhk.seen, "the lender is asked")
    assert "HKALL REQUESTD" in patron.look()
    shipped = gateway.do(lambda: cuhk.ship(asked.text("RequestId/RequestIdentifierValue"), COPY))
    assert not shipped.has("Problem")
    assert "TRANSFERRED" in patron.look()
    assert "Hold shelf" in clerk.scans(COPY)
    (letter,) = until(lambda: gateway.party.mailbox.messages, "the letter")
    assert f"http://127.0.0.1:{gateway.ports.web}/record" in letter.get_body(("plain",)).get_content()
    assert "HKALL RECVD" in patron.look()
    assert words.collect in patron.main
    patron.keep("4-ready")
    assert _lend(gateway, "selfcheck-1").startswith("120")  # R16: at the counter only
    assert _lend(gateway, "counter-1").startswith("121")
    assert TITLE in patron.look()


def _keep_and_return(gateway: Gateway, patron: Patron, clerk: Clerk) -> None:
    cuhk, words = gateway.party.partners["CUHK"], patron.words
    patron.press("[data-request] .do button")
    until(lambda: words.renewed in _calm(lambda: patron.main), "the renewal")
    patron.keep("5-renewed")
    recalled = gateway.do(lambda: cuhk.say("RecallItem", f"item=CUHK:{COPY}"))
    assert not recalled.has("Problem")
    assert words.recalled in patron.look()
    assert "R28" in patron.main
    patron.keep("6-recalled")
    clerk.scans(COPY)
    assert words.empty in patron.look()
    assert TITLE not in patron.main
    patron.keep("7-returned")
    until(lambda: cuhk.seen[-1].service == "ItemShipped", "the lender hears of the way home")


def _left_no_trace(gateway: Gateway, patron: Patron) -> None:
    """Assert that the log and the URLs contain no personal data, and that no browser reported an error."""
    known = next(one for one in read_patrons(demo_setup.DEMO_FILES / "patrons.csv") if one.barcode == CARD)
    log = gateway.log()
    for secret in (known.name.reveal(), known.name_zh.reveal(), known.email.reveal(), f'"{PIN}"', f'"{CARD}"', TITLE):
        assert secret not in log
    addresses = " ".join(patron.seen)
    assert [one for one in (CARD, PIN, known.name.reveal()) if one in addresses] == []
    assert [line for line in messages(patron.driver) if "Content Security Policy" in line] == []


def _lend(gateway: Gateway, login: str) -> str:
    """A terminal's reply to the checkout of the item."""
    terminal = gateway.terminal(login)
    return gateway.ask(terminal, f"11NN{stamp()}{' ' * 18}AOHKU|AA{CARD}|AB{COPY}|AC|AD{PIN}|")


def _calm(read: Callable[[], str]) -> str:
    """Read a page that may be replaced meanwhile."""
    try:
        return read()
    except WebDriverException:
        return ""
