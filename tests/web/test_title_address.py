"""URLs of titles whose id contains reserved characters: each link opens the title."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from lxml import html

from hkall_gateway.db.loads import loading
from hkall_gateway.rules.vocabulary import Holding
from tests.web.conftest import Browser, Site

NUMBERS = (
    "b/90",
    "(HKU)12/3?x=1",
    "a#b",
    "50%",
    "a%2Fb",
    "/begins",
    "ends/",
    "two//slashes",
    "文/献",
    "a b+c&d;e",
    "x\\y",
    "~",
    "..a/.b.",
    "requests/my request",
)
"""Title ids that need no escaping in a URL."""
HARD = (
    ".",
    "..",
    "./x",
    "x/..",
    "a/../b",
    "b/request",
    "request",
    "/request",
    "b/request/request",
    "~.",
    "b/~request",
    "b/~~../~request",
)
"""Title ids with parts that browsers remove or that end the form's URL, and ids that look escaped."""
DOT_SEGMENTS = {".", "..", "%2e", ".%2e", "%2e.", "%2e%2e"}
"""Source: WHATWG URL Standard, single-dot and double-dot URL path segments, in lower case."""
TITLE = "Zymurgy for beginners"


@pytest.fixture(params=NUMBERS + HARD)
def number(request: pytest.FixtureRequest, site: Site) -> str:
    """The id of a title that a partner holds; another title's id is a prefix of it."""
    number = str(request.param)
    copy = Holding(
        agency="CUHK", barcode="Z1", bib_id=number, title=TITLE, author="Brewer, A.", isbn="9780593098233", call_number="TP577"
    )

    def load(unit: Any) -> None:
        loading.write(unit, "holdings", [copy], loading.begin(unit, "holdings"))
        if "/" in number.strip("/"):
            other = replace(copy, barcode="Z2", bib_id=number.partition("/")[0], title="Another", isbn="")
            loading.write(unit, "holdings", [other], loading.begin(unit, "holdings"))

    site.world.store.now(load)
    return number


def link(browser: Browser, path: str, text: str) -> str:
    """The URL of a link on a page."""
    answer = browser.get(path)
    assert answer.status_code == 200, path
    (found,) = html.fromstring(answer.text).xpath(f"//main//a[contains(normalize-space(.), '{text}')]/@href")
    return str(found)


def heading(browser: Browser, path: str) -> str:
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return " ".join(html.fromstring(answer.text).xpath("string(//main)").split())


def test_each_link_opens_the_title(site: Site, number: str) -> None:
    browser = site.browser()
    page = link(browser, "/search?q=zymurgy", TITLE)
    assert TITLE in heading(browser, page)
    form = link(browser, page, "Request this title")
    assert TITLE in heading(browser, form)
    assert link(browser, form, "Back to the title") == page
    assert browser.get("/openurl?" + urlencode({"rft.btitle": TITLE})).location == page


def test_browser_removes_no_part_of_a_link(site: Site, number: str) -> None:
    page = link(site.browser(), "/search?q=zymurgy", TITLE)
    assert not DOT_SEGMENTS & set(page.lower().split("/"))


@pytest.mark.parametrize("number", NUMBERS, indirect=True)
def test_percent_encoded_characters_are_accepted(site: Site, number: str) -> None:
    assert TITLE in heading(site.browser(), f"/title/{quote(number, safe='')}")


def test_openurl_may_contain_the_title_identifier(site: Site, number: str) -> None:
    page = link(site.browser(), "/search?q=zymurgy", TITLE)
    assert site.browser().get("/openurl?" + urlencode({"rft_id": f"https://hkall.test{page}"})).location == page


def test_language_and_login_return_to_the_title(site: Site, number: str) -> None:
    browser = site.browser()
    form = link(browser, link(browser, "/search?q=zymurgy", TITLE), "Request this title")
    (switch,) = html.fromstring(browser.get(form).text).xpath("//header//a[text()='繁體中文']/@href")
    assert browser.get(switch).location == form
    browser.get(html.fromstring(browser.get(form).text).xpath("//header//a[text()='English']/@href")[0])

    asked = browser.post(form, home_library="HKU", pickup="HKU-MAIN-LENDING")
    assert asked.location.startswith("/login?next=")
    back = browser.post(asked.location, barcode="UG1", pin="1234", next=_next(browser, asked.location)).location
    assert TITLE in heading(browser, back)
    placed = browser.post(back.partition("?")[0], home_library="HKU", pickup="HKU-MAIN-LENDING")
    assert placed.location.startswith("/record?placed="), placed.text


def _next(browser: Browser, path: str) -> str:
    (found,) = html.fromstring(browser.get(path).text).xpath("//input[@name='next']/@value")
    return str(found)


def test_api_accepts_the_identifier(site: Site, number: str) -> None:
    address = link(site.browser(), "/search?q=zymurgy", TITLE).removeprefix("/title/")
    answer: Any = site.browser().get(f"/api/v1/titles/{address}")
    assert answer.status_code == 200, answer.text
    assert answer.json["title"]["bib_id"] == number


def test_log_contains_the_route_without_the_identifier(site: Site, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("/title/b-secret/9", "/title/b-secret/9/request", "/api/v1/titles/b-secret/9"):
        site.browser().get(path)
    told = "".join(capfd.readouterr())
    assert "secret" not in told
    for page in ("page=/title/<bib_id> ", "page=/title/<bib_id>/request ", "page=/api/v1/titles/<bib_id> "):
        assert page in told
