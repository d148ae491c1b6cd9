"""The work lists: rows, order, filter, paging, export, and links from the dashboard."""

from __future__ import annotations

import csv
from datetime import date, timedelta
from io import StringIO

import pytest
from lxml import html

from hkall_gateway.db.queries.work_lists import ListName, SortKey
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.labels import flag_words
from hkall_gateway.web.staff import lists
from hkall_gateway.web.staff.lists import BOM, COLUMNS, GROUPS, SORTS, WORK_LISTS, defused
from tests.web.conftest import Browser, Site
from tests.web.given import given, with_copy

P = Position
DAY = timedelta(days=1)


def numbers(browser: Browser, path: str) -> list[str]:
    """The request numbers of a page, in order."""
    answer = browser.get(path)
    assert answer.status_code == 200, path
    return [str(number) for number in html.fromstring(answer.text).xpath("//tr/@data-request")]


@pytest.mark.parametrize("name", ListName)
def test_every_list_has_a_name_columns_and_an_empty_page(site: Site, name: ListName) -> None:
    page = html.fromstring(site.staff("viewer").get(f"/staff/lists/{name}").text)
    assert page.xpath("string(//h1)") == WORK_LISTS[name].words
    assert "Nothing is in this list." in page.xpath("string(//main)")
    assert set(WORK_LISTS[name].columns) <= COLUMNS.keys()


def test_every_list_has_a_group_and_every_order_is_offered() -> None:
    assert [name for rows in GROUPS.values() for name, _ in rows] == list(WORK_LISTS)
    assert SORTS.keys() == set(SortKey)


def test_lists_page_redirects_to_the_first_list(site: Site) -> None:
    assert site.staff("viewer").get("/staff/lists/").location == "/staff/lists/pull"


@pytest.mark.parametrize("name", ["nothing", "PULL", "pull.json", "<script>"])
def test_unknown_list_is_not_found(site: Site, name: str) -> None:
    assert site.staff("viewer").get(f"/staff/lists/{name}").status_code == 404


def test_row_links_to_its_request_and_names_the_list(site: Site) -> None:
    held = given(site, P.RECEIVED, "R-SHELF", pickup_last=date(2017, 3, 6))
    with_copy(site, held, "PL2878 .X4", "Chang")
    site.wait(days=3)
    page = html.fromstring(site.staff("clerk").get("/staff/lists/shelf").text)
    (row,) = page.xpath("//tr[@data-request='R-SHELF']")
    words = " ".join(row.xpath("string(.)").split())
    assert row.xpath(".//a/@href") == ["/staff/requests/R-SHELF"]
    for text in ("Title of R-SHELF", "Chang · PL2878 .X4 · R-SHELF", "B-R-SHELF", "UG1", "6 Mar 2017", "3"):
        assert text in words


def test_pickup_place_of_another_library_is_not_shown(site: Site) -> None:
    given(site, P.RETURN_TRANSIT, "R-HOME", lent=True, pickup_location="LU-LENDING")
    given(site, P.IN_TRANSIT, "R-COMING")
    for path in ("/staff/lists/expected", "/staff/lists/expected.csv"):
        text = site.staff("clerk").get(path).text
        assert ("R-HOME" in text, "HKU-MAIN-LENDING" in text, "LU-LENDING" in text) == (True, True, False)


def test_longest_waiting_request_comes_first_and_the_order_can_be_reversed(site: Site) -> None:
    for number in ("R-1", "R-2", "R-3"):
        given(site, P.PAGED, number)
        site.wait(days=1)
    viewer = site.staff("viewer")
    assert numbers(viewer, "/staff/lists/pull") == ["R-1", "R-2", "R-3"]
    assert numbers(viewer, "/staff/lists/pull?reverse=1") == ["R-3", "R-2", "R-1"]


def test_pull_list_can_be_sorted_in_shelf_order(site: Site) -> None:
    for number, call_number in (("R-1", "QA76.9 .D3"), ("R-2", "QA9 .H6"), ("R-3", "")):
        with_copy(site, given(site, P.PAGED, number), call_number)
    viewer = site.staff("viewer")
    assert numbers(viewer, "/staff/lists/pull?sort=call-number") == ["R-2", "R-1", "R-3"]
    page = html.fromstring(viewer.get("/staff/lists/pull?sort=call-number").text)
    assert page.xpath("//th[@aria-sort='ascending']/a/text()") == ["Call number"]
    assert page.xpath("//th[a='Call number']/a/@href") == ["/staff/lists/pull?sort=call-number&reverse=1"]


def test_unknown_order_falls_back_to_the_default(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    assert numbers(site.staff("viewer"), "/staff/lists/pull?sort=colour&after=nonsense") == ["R-1"]


def test_filter_is_in_the_url(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    given(site, P.PAGED, "R-2", partner="LU", wire_agency="LU")
    viewer = site.staff("viewer")
    assert numbers(viewer, "/staff/lists/pull?partner=LU") == ["R-2"]
    page = html.fromstring(viewer.get("/staff/lists/pull?partner=LU&sort=title").text)
    assert page.xpath("//select[@name='partner']/option[@selected]/@value") == ["LU"]
    assert page.xpath("//a[@download]/@href") == ["/staff/lists/pull.csv?partner=LU&sort=title"]
    assert "Nothing fits this filter." in viewer.get("/staff/lists/pull?partner=HKUST").text


def test_long_list_is_paged_with_each_request_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "ROWS", 2)
    wanted = [f"R-{n}" for n in range(5)]
    for number in wanted:
        given(site, P.PAGED, number)
    viewer, path, seen = site.staff("viewer"), "/staff/lists/pull?sort=title", list[str]()
    while path:
        seen += numbers(viewer, path)
        following = html.fromstring(viewer.get(path).text).xpath("//a[@rel='next']/@href")
        assert "Title" not in "".join(following)
        path = str(following[0]) if following else ""
    assert seen == wanted


def test_overdue_loan_shows_its_days(site: Site) -> None:
    given(site, P.ON_LOAN, "R-1", due=date(2017, 2, 26))
    assert "3 days late" in site.staff("viewer").get("/staff/lists/overdue").text


def test_flags_are_shown_as_text(site: Site) -> None:
    given(site, P.ON_LOAN, "R-1", flags="HKALL_IN_BOOKDROP offline:not_requester mystery")
    with site.app.test_request_context("/help"):
        assert [flag_words(word) for word in ("ils:away", "no_price:lost")] == [
            "Done while the library system was away",
            "Lost, and no price is known",
        ]
    page = site.staff("viewer").get("/staff/lists/flagged").text
    assert "In the book drop; Done while offline: Another patron requested this book.; mystery" in page


def test_viewer_has_no_selection_boxes(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    page = html.fromstring(site.staff("viewer").get("/staff/lists/pull").text)
    assert (
        page.xpath("//input[@name='request'] | //main//input[@name='csrf_token'] | //main//form[@method='post']//button") == []
    )


def test_markup_in_a_title_is_escaped(site: Site) -> None:
    given(site, P.PAGED, "R-1", title="<script>alert(1)</script>")
    page = site.staff("viewer").get("/staff/lists/pull").text
    assert "<script>alert" not in page


# ---- the file


def rows_of(text: str) -> list[list[str]]:
    assert text.startswith(BOM)
    return list(csv.reader(StringIO(text.removeprefix(BOM))))


def test_exported_file_has_the_whole_list_in_order(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "ROWS_OF_A_FILE", 2)
    for n in range(5):
        given(site, P.PAGED, f"R-{n}", title=f"紅樓夢 {9 - n}")
    answer = site.staff("viewer").get("/staff/lists/pull.csv?sort=title")
    heads, *rows = rows_of(answer.text)
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="hkall-pull-2017-03-01.csv"'
    assert answer.data.startswith(b"\xef\xbb\xbf")
    assert heads[:2] == ["Request", "Title"]
    assert [row[:2] for row in rows] == [[f"R-{n}", f"紅樓夢 {9 - n}"] for n in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("title", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "＝1+1"])
def test_exported_file_contains_no_formula(site: Site, title: str) -> None:
    given(site, P.PAGED, "R-1", title=title)
    (_, row) = rows_of(site.staff("viewer").get("/staff/lists/pull.csv").text)
    assert (row[1][0], row[1].replace("'", "")) == ("'", title)


def test_number_is_exported_as_a_number() -> None:
    assert [defused(value) for value in (-5, None, "a-b", "")] == [-5, None, "a-b", ""]


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        (" =1", "' =1"),
        ("\u3000=1", "'\u3000=1"),
        ("a;=1", "a;'=1"),
        ("a; @SUM(A1)", "a;' @SUM(A1)"),
        ("a\n=1", "a\n'=1"),
        ("a\t-1", "a\t'-1"),
        (";=1;=2", ";'=1;'=2"),
        ("\ta", "'\ta"),
        ("Herbert, Frank, 1920-1986; a novel - Dune", "Herbert, Frank, 1920-1986; a novel - Dune"),
    ],
)
def test_formula_after_blanks_or_another_separator_is_neutralised(cell: str, written: str) -> None:
    assert defused(cell) == written


# ---- the first page


def test_dashboard_counts_link_to_their_lists(site: Site) -> None:
    given(site, P.RECEIVED, "R-1", pickup_last=date(2017, 2, 20), expired_pickup=True)
    given(site, P.RECEIVED, "R-2", pickup_last=date(2017, 3, 20))
    viewer = site.staff("viewer")
    page = html.fromstring(viewer.get("/staff/").text)
    for row in page.xpath("//li[@data-list][a]"):
        (address,) = row.xpath(".//a/@href")
        count = row.xpath("string(.//span[contains(@class, 'count')])")
        assert len(numbers(viewer, str(address))) == int(count), address
    assert [int(row.xpath("string(.//span)")) for row in page.xpath("//li[@data-list='shelf' or @data-list='expired']")] == [
        2,
        1,
    ]
