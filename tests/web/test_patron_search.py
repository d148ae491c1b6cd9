"""Visitors: the first page, search, title pages, and headers for caches and crawlers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from lxml import etree, html
from werkzeug.test import TestResponse

from hkall_gateway.db.loads import catalogue, loading
from hkall_gateway.db.search.parsing import BadQuery, SearchField
from hkall_gateway.rules.vendor_words.availability import CIRCULATION_STATUS
from hkall_gateway.rules.vocabulary import Holding, Title
from hkall_gateway.web.labels import WORDS
from hkall_gateway.web.patron.home import CLOSED_TO_ROBOTS
from hkall_gateway.web.patron.search import BAD, FIELDS
from hkall_gateway.web.sessions import VISITOR
from tests.web.conftest import Browser, Site

CHINESE = {"Accept-Language": "zh-Hant"}


@pytest.fixture
def visitor(site: Site) -> Browser:
    """A browser for the world's titles."""
    site.world.store.now(lambda unit: catalogue.fill(unit.connection))
    return site.browser()


def load(site: Site, *copies: Holding, titles: Mapping[str, Title] | None = None) -> None:
    """Load items, with titles and search words, as of the world's time."""

    def write(unit: Any) -> None:
        number = loading.begin(unit, "holdings")
        loading.write_copies(unit, copies, number, None, titles or {})
        loading.finish(unit, "holdings", number, full=False, now=site.world.now)

    site.world.store.now(write)


def shown(answer: TestResponse) -> Any:
    assert answer.status_code == 200, answer.status_code
    return html.fromstring(answer.text)


def results(page: Any) -> dict[str, str]:
    """The badge of each title on a result page, by id, in order."""
    return {one.get("data-title"): one.xpath("string(.//p[@class='where'])").strip() for one in page.xpath("//li[@data-title]")}


def copies(page: Any) -> list[tuple[str, str]]:
    """Library and status of each item row of a title."""
    return [(row.get("data-agency"), row.xpath("string(td[last()])").strip()) for row in page.xpath("//tr[@data-agency]")]


def asking(page: Any) -> tuple[list[str], str]:
    """The URL to request a title, and the text in place of the button."""
    words = " ".join(page.xpath("string(//section[@class='asking'])").split())
    return page.xpath("//a[starts-with(., 'Request this title')]/@href"), words


# ---- the first page


def test_first_page_has_one_search_box_and_a_summary_of_the_rules(visitor: Browser) -> None:
    page = shown(visitor.get("/"))
    assert page.xpath("//main//form/@action") == ["/search"]
    assert page.xpath("//main//form//input/@name") == ["q"]
    assert page.xpath("string(//h1)") == "Search 5 university libraries"
    text = page.xpath("string(//main)")
    assert "5 days to collect" in text
    assert "15 or 30 days" in text
    assert "renewed 2 times" in text


def test_first_page_is_available_in_chinese(visitor: Browser) -> None:
    assert "搜尋" in visitor.get("/", headers=CHINESE).text


@pytest.mark.parametrize("path", ["/", "/search", "/search?q=dune", "/title/b-dune"])
def test_suspension_shows_its_end_and_the_alternative_service(site: Site, visitor: Browser, path: str) -> None:
    assert "suspended" not in visitor.get(path).text
    site.wait(days=100)
    text = visitor.get(path).text
    assert "HKALL is suspended until 17 July 2017 (Monday). Use Interlibrary Loans Services." in text
    assert "請使用館際互借服務" in visitor.get(path, headers=CHINESE).text


def test_visitor_sees_the_public_menu_and_a_login_link(visitor: Browser) -> None:
    page = shown(visitor.get("/search?q=dune"))
    assert [(a.text, a.get("href")) for a in page.xpath("//header//nav//a")] == [
        ("Search", "/"),
        ("My record", "/record"),
        ("Rules", "/help"),
    ]
    assert page.xpath("//header//nav//a[@aria-current]/text()") == ["Search"]
    assert page.xpath("//header//a[.='Log in']/@href") == ["/login?next=%2Fsearch%3Fq%3Ddune"]


def test_staff_see_their_own_menu_on_public_pages(site: Site) -> None:
    page = shown(site.staff("viewer").get("/search"))
    assert page.xpath("//nav[1]//a/text()")[0] == "Today"


# ---- search


def test_search_shows_where_each_title_is_available(site: Site, visitor: Browser) -> None:
    load(
        site,
        Holding(agency="CUHK", barcode="C20", bib_id="b-20", title="Dune Messiah"),
        Holding(agency="LU", barcode="L21", bib_id="b-21", title="Dune Roads", status="On Loan"),
    )
    load(
        site,
        Holding(agency="HKU", barcode="K22", bib_id="b-22", title="Dune Sea"),
        Holding(agency="CUHK", barcode="C22", bib_id="b-22", title="Dune Sea"),
    )
    page = shown(visitor.get("/search?q=dune"))
    assert results(page) == {
        "b-dune": "Available at 2 libraries",
        "b-20": "Available at The Chinese University of Hong Kong Library",
        "b-21": "No copy available now",
        "b-22": "On our own shelf",
    }
    assert page.xpath("//li[@data-title='b-dune']//a/@href") == ["/title/b-dune"]
    assert page.xpath("normalize-space(//p[contains(@class, 'counted')])") == "4 titles"


@pytest.mark.parametrize("typed", ["紅樓夢", "红楼梦", "红樓"])
def test_search_finds_both_chinese_scripts(visitor: Browser, typed: str) -> None:
    assert list(results(shown(visitor.get("/search", query_string={"q": typed})))) == ["b-dream"]


def test_field_and_filter_narrow_the_search_and_stay_selected(visitor: Browser) -> None:
    assert list(results(shown(visitor.get("/search?q=herbert&field=author")))) == ["b-dune"]
    assert results(shown(visitor.get("/search?q=herbert&field=title"))) == {}
    assert list(results(shown(visitor.get("/search?q=middlemarch")))) == ["b-out"]
    page = shown(visitor.get("/search?q=middlemarch&field=title&available=1"))
    assert results(page) == {}
    assert page.xpath("//option[@selected]/@value") == ["title"]
    assert page.xpath("//input[@name='available']/@checked")
    assert page.xpath("//main//li/a/@href") == ["/search?q=middlemarch&field=title", "/search?q=middlemarch&available=1"]


def test_results_are_paged_in_twenties(site: Site, visitor: Browser) -> None:
    load(site, *(Holding(agency="CUHK", barcode=f"C{n}", bib_id=f"n-{n}", title=f"Numbers {n:02d}") for n in range(45)))
    first = shown(visitor.get("/search?q=numbers&field=title"))
    assert len(results(first)) == 20
    assert first.xpath("//a[@rel='prev']") == []
    second = shown(visitor.get(first.xpath("//a[@rel='next']/@href")[0]))
    third = shown(visitor.get(second.xpath("//a[@rel='next']/@href")[0]))
    assert [*results(first), *results(second), *results(third)] == [f"n-{n}" for n in range(45)]
    assert third.xpath("//a[@rel='next']") == []
    assert third.xpath("//a[@rel='prev']/@href") == ["/search?q=numbers&field=title&page=2"]
    assert "Page 3 of 3" in third.xpath("string(//main)")


def test_empty_search_shows_only_the_form(visitor: Browser) -> None:
    page = shown(visitor.get("/search"))
    assert page.xpath("//main//form//*[@name]/@name") == ["q", "field", "available"]
    assert results(page) == {}


@pytest.mark.parametrize(
    ("query", "code", "why"),
    [
        ({"q": "!!!"}, 400, "Type at least one word."),
        ({"q": "x" * 301}, 400, "at most 300 characters"),
        ({"q": "x " * 65}, 400, "at most 64 are searched"),
        ({"q": "書" * 65}, 400, "at most 64 are searched"),
        ({"q": "9780306406158", "field": "isbn"}, 400, "This is no ISBN"),
        ({"q": "dune", "page": "2"}, 404, "no such page"),
        ({"q": "dune", "page": "0"}, 404, "no such page"),
        ({"q": "dune", "page": "-1"}, 404, "no such page"),
        ({"q": "dune", "page": "²"}, 404, "no such page"),
        ({"q": "dune", "page": "9" * 5000}, 404, "no such page"),
    ],
)
def test_invalid_query_shows_its_error_and_keeps_the_form(visitor: Browser, query: dict[str, str], code: int, why: str) -> None:
    answer = visitor.get("/search", query_string=query)
    assert answer.status_code == code
    page = html.fromstring(answer.text)
    assert why in page.xpath("string(//*[@role='alert'])")
    assert page.xpath("//input[@name='q']/@value") == [query["q"].strip()]


def test_every_query_error_and_field_has_a_text() -> None:
    assert BAD.keys() == set(BadQuery)
    assert FIELDS.keys() == set(SearchField)


def test_markup_in_a_query_and_a_title_is_escaped(site: Site, visitor: Browser) -> None:
    load(site, Holding(agency="CUHK", barcode="C30", bib_id="b-30", title="<script>alert(1)</script> dune"))
    text = visitor.get("/search", query_string={"q": '"><script>alert(1)</script> dune'}).text
    assert "<script>alert" not in text
    assert "&lt;script&gt;" in visitor.get("/title/b-30").text


def test_title_in_two_scripts_shows_the_original_script_first(site: Site, visitor: Browser) -> None:
    title = Title(
        bib_id="b-31",
        title="Cheng nan jiu shi",
        author="Lin Haiyin",
        language="chi",
        linked_title="城南舊事",
        linked_author="林海音",
    )
    load(site, Holding(agency="CUHK", barcode="C31", bib_id="b-31", title="Cheng nan jiu shi"), titles={"b-31": title})
    page = shown(visitor.get("/search?q=城南"))
    (heading,) = page.xpath("//li//h2/a")
    assert heading.text_content() == "城南舊事 / Cheng nan jiu shi"
    assert heading.xpath("span/@lang") == ["zh-Hant"]
    assert "林海音 · Lin Haiyin" in page.xpath("string(//li[@data-title])")


# ---- search that forgives, facets, order


@pytest.fixture
def shelves(site: Site, visitor: Browser) -> Browser:
    """Titles of several libraries, languages and years."""
    titles = [
        Title(bib_id="s-1", title="Quantum dictionaries", author="Ho", language="eng", published="London: Greywell, 2019"),
        Title(bib_id="s-2", title="Quantum mechanics", author="Ng", language="eng", published="Oxford: Greywell, 2012"),
        Title(bib_id="s-3", title="Quanten und Quantum", author="Lam", language="ger", published="Berlin: Tempelhof, 2015"),
        Title(bib_id="s-4", title="發展心理學", author="陳雅文", language="chi", published="香港：渡輪書社，1998"),
    ]
    places = [("CUHK", "s-1"), ("LU", "s-1"), ("CUHK", "s-2"), ("LU", "s-3"), ("HKUST", "s-4")]
    by_id = {title.bib_id: title for title in titles}
    copies = [
        Holding(agency=agency, barcode=f"{agency}-{bib}", bib_id=bib, title=by_id[bib].title, author=by_id[bib].author)
        for agency, bib in places
    ]
    load(site, *copies, titles=by_id)
    load(site, replace(copies[2], status="On Loan"), titles=by_id)
    return visitor


def facets(page: Any) -> dict[str, dict[str, str]]:
    """The links of each facet, with the number of titles, by its heading."""
    return {
        head.text: {
            one.xpath("string(a)"): one.xpath("string(span)") for one in head.xpath("following-sibling::*[1][self::ul]/li")
        }
        for head in page.xpath("//nav[@id='narrow']//h3")
    }


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("dictionary quantum", ["s-1"]),
        ("dictionarys", ["s-1"]),
        ("quantm mechanics", ["s-2"]),
        ("quantummechanics", ["s-2"]),
        ("发展心理学", ["s-4"]),
        ("fa zhan xin li xue", ["s-4"]),
        ("fāzhǎn xīnlǐxué", ["s-4"]),
        ("發展心里學", ["s-4"]),
    ],
)
def test_other_spellings_find_the_title_at_once(shelves: Browser, typed: str, found: list[str]) -> None:
    assert list(results(shown(shelves.get("/search", query_string={"q": typed})))) == found


@pytest.mark.parametrize(("language", "words"), [("en", "Did you mean"), ("zh-Hant", "您是否要找")])
def test_corrected_search_says_what_it_searched(shelves: Browser, language: str, words: str) -> None:
    page = shown(shelves.get("/search?q=quantm+mechancs", headers={"Accept-Language": language}))
    (notice,) = page.xpath("//main/p[contains(@class, 'notice')]")
    assert words in notice.text_content()
    assert notice.xpath("a/@href") == ["/search?q=quantum+mechanics"]
    assert "notice" not in shelves.get("/search?q=quantum+mechanics").text


def test_similar_titles_are_announced(shelves: Browser) -> None:
    page = shown(shelves.get("/search?q=quantum+mechanics+zzzz"))
    assert list(results(page)) == ["s-2"]
    assert "No title has all these words" in page.xpath("string(//main/p)")


def test_facets_count_every_hit(shelves: Browser) -> None:
    page = shown(shelves.get("/search?q=quantum"))
    assert facets(page) == {
        "Library": {"The Chinese University of Hong Kong Library": "2", "Lingnan University Library": "2"},
        "Language": {"English": "2", "German": "1"},
    }
    assert page.xpath("//nav[@id='narrow']/ul[1]/li/a/@href") == ["/search?q=quantum&available=1"]
    chinese = shown(shelves.get("/search?q=quantum", headers=CHINESE))
    assert facets(chinese)["語言"] == {"英文": "2", "德文": "1"}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("library=LU", {"s-1", "s-3"}),
        ("language=ger", {"s-3"}),
        ("decade=2010", {"s-1", "s-2", "s-3"}),
        ("decade=1990", set()),
        ("available=1", {"s-1", "s-3"}),
        ("library=LU&language=eng", {"s-1"}),
        ("library=nowhere", set()),
        ("language=%27%22%F0%9F%98%80", set()),
        ("sort=nonsense", {"s-1", "s-2", "s-3"}),
    ],
)
def test_facet_narrows_the_results(shelves: Browser, query: str, found: set[str]) -> None:
    assert set(results(shown(shelves.get(f"/search?q=quantum&{query}")))) == found


def test_chosen_facet_can_be_removed(shelves: Browser) -> None:
    page = shown(shelves.get("/search?q=quantum&library=LU&language=ger&sort=year"))
    removed = page.xpath("//nav[@id='narrow']//p[@class='chosen']/a")
    assert [one.get("aria-label") for one in removed] == ["Remove: Lingnan University Library", "Remove: German"]
    assert removed[0].get("href") == "/search?q=quantum&language=ger&sort=year"


@pytest.mark.parametrize(
    ("order", "found"),
    [
        ("relevance", ["s-1", "s-2", "s-3"]),
        ("year", ["s-1", "s-3", "s-2"]),
        ("title", ["s-3", "s-1", "s-2"]),
    ],
)
def test_results_are_sorted_as_chosen(shelves: Browser, order: str, found: list[str]) -> None:
    page = shown(shelves.get(f"/search?q=quantum&sort={order}"))
    assert page.xpath("//nav[@class='sorts']//a[@aria-current]/text()") == [
        {"relevance": "Relevance", "year": "Newest", "title": "Title"}[order]
    ]
    assert list(results(page)) == found


ODD = (
    "",
    " ",
    "x" * 10_000,
    '"',
    '""',
    "a AND NOT b*",
    "{title}: x",
    "NEAR(a b)",
    "\0",
    "a\0b",
    "😀",
    "😀 dune",
    "-",
    "²",
    "%00",
)


@pytest.mark.parametrize("key", ["q", "field", "library", "language", "decade", "sort", "page", "available"])
def test_odd_input_gets_a_page(shelves: Browser, key: str) -> None:
    for typed in ODD:
        answer = shelves.get("/search", query_string={"q": "dune", key: typed})
        assert answer.status_code in {200, 400, 404}, (key, typed[:20])


# ---- a title


def test_title_page_shows_items_and_request_button(visitor: Browser) -> None:
    page = shown(visitor.get("/title/b-dune"))
    assert page.xpath("string(//h1)") == "Dune"
    assert copies(page) == [("CUHK", "AVAILABLE"), ("HKUST", "AVAILABLE")]
    assert page.xpath("//tr[@data-agency='CUHK']/th/text()") == ["The Chinese University of Hong Kong Library"]
    assert asking(page) == (["/title/b-dune/request"], "Request this title")


@pytest.mark.parametrize(
    ("bib", "words", "rule"),
    [("b-home", "A copy is on our own shelf.", "R6"), ("b-out", "No library has a copy to lend now.", "R7")],
)
def test_unrequestable_title_shows_its_reason_and_rule(visitor: Browser, bib: str, words: str, rule: str) -> None:
    page = shown(visitor.get(f"/title/{bib}"))
    assert asking(page) == ([], f"{words} {rule}")
    assert page.xpath("//section[@class='asking']//a/@href") == [f"/help#{rule}"]


def test_suspension_rule_replaces_the_request_button(site: Site, visitor: Browser) -> None:
    site.wait(days=100)
    assert asking(shown(visitor.get("/title/b-dune"))) == ([], "R1")


def test_own_item_is_shown_first_with_its_location(site: Site, visitor: Browser) -> None:
    load(site, Holding(agency="HKU", barcode="K3", bib_id="b-home", title="Persuasion", call_number="PR4034 .P4"))
    page = shown(visitor.get("/title/b-home"))
    assert copies(page)[0] == ("HKU", "AVAILABLE")
    assert "PR4034 .P4" in page.xpath("string(//p[@class='ours'])")


def test_item_on_loan_shows_the_status_of_its_library(site: Site, visitor: Browser) -> None:
    words = {"On Loan": "Checked out", "DUE 03-16-17": "Checked out", "in transit": "In transit", "Attic": "Attic"}
    load(
        site,
        *(Holding(agency="CUHK", barcode=f"C4{n}", bib_id="b-40", title="Emma", status=word) for n, word in enumerate(words)),
    )
    load(site, Holding(agency="LU", barcode="L40", bib_id="b-40", title="Emma", lendable=False))
    found = copies(shown(visitor.get("/title/b-40")))
    assert found == [*(("CUHK", said) for said in words.values()), ("LU", "Not lent to other libraries")]


def test_every_niso_status_has_a_text() -> None:
    assert WORDS["statuses"].keys() == set(CIRCULATION_STATUS)


def test_each_volume_has_its_own_request_button(site: Site, visitor: Browser) -> None:
    ours = Holding(agency="HKU", barcode="K7", bib_id="b-river", title="The River", volume="v.1")
    load(site, ours, *(replace(ours, agency="CUHK", barcode=f"C7{n}", volume=f"v.{n}") for n in (1, 2)))
    page = shown(visitor.get("/title/b-river"))
    assert asking(page)[0] == ["/title/b-river/request?volume=v.2"]
    rows = [" ".join(row.text_content().split()) for row in page.xpath("//ul[contains(@class, 'volumes')]/li")]
    assert rows == ["v.1 A copy is on our own shelf. R6", "v.2 Request this title v.2"]


def test_title_shows_when_its_holdings_were_loaded(site: Site, visitor: Browser) -> None:
    load(site, Holding(agency="CUHK", barcode="C50", bib_id="b-50", title="Emma", isbn="9780306406157"))
    text = shown(visitor.get("/title/b-50")).xpath("string(//main)")
    assert "As the libraries reported on 1 March 2017 (Wednesday), 09:00" in text
    assert "9780306406157" in text


def test_title_without_holdings_is_not_found(visitor: Browser) -> None:
    for bib in ("b-nowhere", "x" * 5000, "%00", "../etc/passwd"):
        assert visitor.get(f"/title/{quote(bib)}").status_code == 404


def test_title_without_search_words_is_shown_from_its_item(site: Site) -> None:
    page = shown(site.browser().get("/title/b-dune"))
    assert page.xpath("string(//h1)") == "Dune"


def test_title_with_many_items_says_how_many_are_hidden(site: Site, visitor: Browser) -> None:
    load(site, *(Holding(agency="CUHK", barcode=f"M{n}", bib_id="b-many", title="Many") for n in range(203)))
    page = shown(visitor.get("/title/b-many"))
    assert len(copies(page)) == 200
    assert "3 more copies are not shown." in page.xpath("string(//main)")


# ---- what is told to caches, crawlers and other catalogues


@pytest.mark.parametrize(
    ("path", "kept"),
    [
        ("/", "public, max-age=60"),
        ("/title/b-dune", "public, max-age=60"),
        ("/search?q=dune", "private, max-age=60"),
        ("/opensearch.xml", "public, max-age=86400"),
        ("/robots.txt", "public, max-age=86400"),
        ("/title/b-nowhere", "no-store"),
        ("/search?q=!", "no-store"),
        ("/openurl?rft.isbn=x", "no-store"),
    ],
)
def test_visitor_page_is_cached_for_a_minute_and_never_in_shared_caches(visitor: Browser, path: str, kept: str) -> None:
    answer = visitor.get(path)
    assert answer.headers["Cache-Control"] == kept
    assert answer.headers.getlist("Set-Cookie") == []


@pytest.mark.parametrize("path", ["/", "/title/b-dune", "/search?q=dune"])
def test_vary_header_names_language_and_cookie(site: Site, visitor: Browser, path: str) -> None:
    assert {word.strip() for word in visitor.get(path).headers["Vary"].split(",")} >= {"Cookie", "Accept-Language"}
    assert site.staff().get(path).headers["Cache-Control"] == "no-store"


def test_crawlers_are_excluded_from_costly_and_personal_pages(visitor: Browser) -> None:
    lines = visitor.get("/robots.txt").text.splitlines()
    assert lines[0] == "User-agent: *"
    assert lines[1:] == [f"Disallow: {path}" for path in CLOSED_TO_ROBOTS]
    assert {"/search", "/openurl", "/title/", "/record", "/staff/"} <= set(CLOSED_TO_ROBOTS)


def test_search_form_needs_no_cookie(visitor: Browser) -> None:
    assert VISITOR not in visitor.get("/search?q=dune").headers.get("Set-Cookie", "")
    assert "csrf_token" not in visitor.get("/search?q=dune").text


SPEC = "{http://a9.com/-/spec/opensearch/1.1/}"


def test_opensearch_description_has_the_required_elements(visitor: Browser) -> None:
    answer = visitor.get("/opensearch.xml")
    assert answer.mimetype == "application/opensearchdescription+xml"
    root = etree.fromstring(answer.data)
    assert root.tag == f"{SPEC}OpenSearchDescription"
    for element, most in (("ShortName", 16), ("Description", 1024), ("LongName", 48)):
        (text,) = root.findall(SPEC + element)
        assert 0 < len(text.text or "") <= most, element
    urls = {url.get("type"): url.get("template") for url in root.findall(f"{SPEC}Url")}
    assert urls["text/html"] == "https://hkall.test/search?q={searchTerms}&page={startPage?}"
    assert {code.text for code in root.findall(f"{SPEC}InputEncoding")} == {"UTF-8"}


def test_opensearch_template_finds_the_search_term(visitor: Browser) -> None:
    root = etree.fromstring(visitor.get("/opensearch.xml").data)
    (url,) = root.findall(f"{SPEC}Url[@type='text/html']")
    path = (
        url.attrib["template"]
        .removeprefix("https://hkall.test")
        .replace("{searchTerms}", quote("红楼梦"))
        .replace("{startPage?}", "1")
    )
    assert list(results(shown(visitor.get(path)))) == ["b-dream"]


def test_every_page_links_to_the_opensearch_description(visitor: Browser) -> None:
    page = shown(visitor.get("/help"))
    assert page.xpath("//link[@rel='search']/@href") == ["/opensearch.xml"]


def test_search_words_are_not_in_the_log(visitor: Browser, capfd: pytest.CaptureFixture[str]) -> None:
    for path in ("/search?q=middlemarch", "/openurl?rft.btitle=middlemarch&rft.au=eliot", "/title/b-out"):
        visitor.get(path)
    told = "".join(capfd.readouterr())
    assert "/title/<bib_id>" in told
    for word in ("middlemarch", "eliot", "b-out"):
        assert word not in told
