"""Chromium on the demo's own pages, letters and a partner library: both languages and colour schemes, three sizes, with axe."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from twisted.internet.defer import ensureDeferred
from twisted.internet.threads import blockingCallFromThread

from demo.demo_script import DemoPeers
from demo.pages import LANGUAGES, PATH, MailFolder
from hkall_gateway.clock import now
from tests.company import gateway_ports
from tests.web.test_browser import SIZES, chromium, keep, messages, wait_for

pytestmark = pytest.mark.browser

LETTERS = {
    "Ready for you: Tides of the Delta": "Dear Chan Tai Man,\n\nYour book is ready.\n\nCollect it by Friday 4 December 2026.\n",
    "可供領取：珠江口的燈塔": "陳大文：\n\n你申請的圖書可供領取。\n\n最後領取日期：2026年12月4日（星期五）\n",
}


@pytest.fixture(scope="module")
def addresses(reactor: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The URLs of the pages, by the names of their screenshots."""
    folder, ports = tmp_path_factory.mktemp("demo") / "mail", gateway_ports()
    box = MailFolder(folder)
    for subject, text in LETTERS.items():
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "lending@lib.example.hk", "p0001@connect.example.hk", subject
        message["Date"] = now()
        message.set_content(text)
        box.keep(message)
    peers = DemoPeers(reactor, ports, mail=folder)

    def run(work: Any) -> None:
        blockingCallFromThread(reactor, lambda: ensureDeferred(work()))

    run(peers.start)
    mail = f"http://127.0.0.1:{ports.mail}{PATH}"
    yield {
        "mail": mail,
        "mail-one-patron": f"{mail}?to=p0001@connect.example.hk",
        "mail-english": f"{mail}/00001",
        "mail-chinese": f"{mail}/00002",
        "mail-missing": f"{mail}/99999",
        "partner": f"http://127.0.0.1:{ports.partners['CUHK']}/",
    }
    run(peers.stop)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_pages_of_the_demo_fit_their_screens_and_pass_axe(addresses: dict[str, str], size: str, scheme: str) -> None:
    driver = chromium(SIZES[size], scheme)
    try:
        for language in LANGUAGES:
            for name, address in addresses.items():
                driver.get(f"{address}{'&' if '?' in address else '?'}lang={language}")
                keep(driver, f"demo-{name}-{size}-{language}-{scheme}")
        assert [line for line in messages(driver) if "Content Security Policy" in line] == []
    finally:
        driver.quit()


def test_letter_opens_from_the_list(addresses: dict[str, str]) -> None:
    driver = chromium(SIZES["desk"])
    try:
        driver.get(addresses["mail"])
        subject = next(iter(LETTERS))
        driver.find_element(By.LINK_TEXT, subject).click()
        wait_for(driver, subject)
        assert "Friday 4 December 2026" in driver.find_element(By.TAG_NAME, "main").text
    finally:
        driver.quit()
