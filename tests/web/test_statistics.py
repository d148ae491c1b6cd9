"""The statistics: figures, files, chart images, periods, and no patron data."""

from __future__ import annotations

import csv
from datetime import date
from io import StringIO
from typing import Any

import pytest
from lxml import etree, html

from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.middleware import PICTURE
from hkall_gateway.web.staff.statistics import CHARTS, TABLES
from tests.web.conftest import Browser, Site
from tests.web.given import given

P = Position
ALL = "from=2017-03-01&to=2017-03-31"


@pytest.fixture
def viewer(site: Site) -> Browser:
    """A month with two filled requests, an unfilled one, and one item lent."""
    given(site, P.ON_LOAN, "R-1", received_on=date(2017, 3, 4))
    given(site, P.CLOSED, "R-2", received_on=date(2017, 3, 8), partner="LU")
    given(site, P.UNFILLED, "R-3", item_agency="", item_barcode="")
    given(site, P.SHIPPED, "R-4", pickup_location="CUHK-UL")
    given(site, P.DECLINED, "R-5", lent=True, reason="not_on_shelf")
    site.world.tell("HKU-DISCOVERY", "RequestItem user=NOBODY bib=b-dune request=d-1")
    return site.staff("viewer")


def table(browser: Browser, name: str, query: str = ALL) -> list[list[str]]:
    answer = browser.get(f"/staff/statistics/{name}.csv?{query}")
    assert answer.status_code == 200
    assert answer.data.startswith(b"\xef\xbb\xbf")
    return list(csv.reader(StringIO(answer.text[1:])))


def test_statistics_page_has_charts_and_every_table_with_its_download(viewer: Browser) -> None:
    page = html.fromstring(viewer.get(f"/staff/statistics?{ALL}").text)
    assert page.xpath("//section/@id") == list(TABLES)
    for address in page.xpath("//a[@download]/@href") + page.xpath("//img/@src"):
        assert viewer.get(str(address)).status_code == 200, address
    assert {image.get("src").partition(".svg")[0].rpartition("/")[2] for image in page.xpath("//img")} == CHARTS.keys()
    assert all(page.xpath("//img/@alt"))


def test_requests_are_counted_by_month_and_side(viewer: Browser) -> None:
    heads, *rows = table(viewer, "months")
    assert heads == ["Month", "Side", "Requests", "Filled", "Unfilled", "Cancelled", "Still open", "Fill rate in percent"]
    assert rows == [
        ["2017-03", "We borrow", "3", "2", "1", "0", "0", "67"],
        ["2017-03", "We lend", "2", "1", "1", "0", "0", "50"],
    ]


def test_turnaround_is_shown_by_lender(viewer: Browser) -> None:
    assert table(viewer, "turnaround")[1:] == [["CUHK", "1", "3", "3"], ["LU", "1", "7", "7"]]


def test_refusals_are_counted_by_reason_with_their_rules(viewer: Browser) -> None:
    assert ["R2", "This card is not known.", "1"] in table(viewer, "refusals")
    assert table(viewer, "declines")[1:] == [["HKU", "Not found on the shelf", "1"]]
    assert '<a class="rule" href="/help#R2">R2</a>' in viewer.get(f"/staff/statistics?{ALL}").text


def test_matrix_shows_loans_per_lender_and_site(viewer: Browser) -> None:
    page = html.fromstring(viewer.get(f"/staff/statistics?{ALL}").text)
    heads = [cell.xpath("string(.)") for cell in page.xpath("//table[@class='matrix']//thead//th")][1:]
    rows = {
        row.xpath("string(./th)"): dict(zip(heads, [cell.xpath("string(.)") for cell in row.xpath("./td")], strict=True))
        for row in page.xpath("//table[@class='matrix']/tbody/tr")
    }
    assert rows["HKU"]["CUHK"] == "2"
    assert rows["CUHK"]["HKU-MAIN-LENDING"] == "2"
    assert rows["LU"]["CUHK"] == ""


@pytest.mark.parametrize("name", CHARTS)
@pytest.mark.parametrize("query", [ALL, "from=2016-01-01&to=2016-01-31"])
def test_chart_is_an_image_without_scripts(viewer: Browser, name: str, query: str) -> None:
    answer = viewer.get(f"/staff/statistics/{name}.svg?{query}")
    tree: Any = etree.fromstring(answer.data)
    assert answer.mimetype == "image/svg+xml"
    assert answer.headers["Content-Security-Policy"] == PICTURE
    assert tree.tag.endswith("svg")
    assert [node for node in tree.iter() if str(node.tag).endswith("script")] == []


def test_statistics_contain_no_patron(viewer: Browser) -> None:
    texts = [viewer.get(f"/staff/statistics?{ALL}").text]
    texts += [viewer.get(f"/staff/statistics/{name}.csv?{ALL}").text for name in TABLES]
    texts += [viewer.get(f"/staff/statistics/{name}.svg?{ALL}").text for name in CHARTS]
    assert [text for text in texts if "UG1" in text or "NOBODY" in text or "R-1<" in text or "Title of" in text] == []


def test_period_defaults_to_six_months(site: Site, viewer: Browser) -> None:
    page = html.fromstring(viewer.get("/staff/statistics").text)
    assert page.xpath("//input[@type='date']/@value") == ["2016-10-01", "2017-03-01"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("from=2017-03-02&to=2017-03-01", "1 March 2017"),
        ("from=2010-01-01&to=2017-03-01", "1 March 2017"),
        ("from=yesterday&to=2017-03-01", "yesterday"),
        ("from=0001-01-01&to=9999-12-31", "9999"),
    ],
)
def test_invalid_period_is_refused_with_a_reason(viewer: Browser, query: str, says: str) -> None:
    answer = viewer.get(f"/staff/statistics?{query}")
    assert answer.status_code == 400
    assert says in answer.text
    assert viewer.get(f"/staff/statistics/months.csv?{query}").status_code == 400
    assert viewer.get(f"/staff/statistics/months.svg?{query}").status_code == 400


@pytest.mark.parametrize("path", ["nothing.csv", "nothing.svg", "sites.svg", "months.png"])
def test_unknown_table_or_chart_is_not_found(viewer: Browser, path: str) -> None:
    assert viewer.get(f"/staff/statistics/{path}?{ALL}").status_code == 404


def test_statistics_are_cached_for_a_minute(site: Site, viewer: Browser) -> None:
    assert table(viewer, "months")[1][2] == "3"
    given(site, P.ON_LOAN, "R-8")
    assert table(viewer, "months")[1][2] == "3"
    site.wait(minutes=1)
    assert table(viewer, "months")[1][2] == "4"
