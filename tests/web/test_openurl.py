"""OpenURLs as other catalogues write them: handmade from the keys of Z39.88 and of OpenURL 0.1."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from hkall_gateway.rules.vocabulary import Holding
from tests.web.conftest import Browser, Site
from tests.web.test_patron_search import load

# Source: ANSI/NISO Z39.88-2004, matrix info:ofi/fmt:kev:mtx:book, and its guidelines for the key/encoded-value format.
CONTEXT: Final = {"ctx_ver": "Z39.88-2004", "ctx_enc": "info:ofi/enc:UTF-8", "rft_val_fmt": "info:ofi/fmt:kev:mtx:book"}
REFERRER: Final = {"rfr_id": "info:sid/primo.exlibrisgroup.com:primo", "url_ver": "Z39.88-2004"}


@pytest.fixture
def catalogue(site: Site) -> Browser:
    """A browser coming from another catalogue; ours has four titles, two with the same name."""
    load(
        site,
        Holding(agency="CUHK", barcode="C1", bib_id="b-dune", title="Dune", author="Herbert, Frank", isbn="9780441013593"),
        Holding(agency="LU", barcode="L1", bib_id="b-emma", title="Emma", author="Austen, Jane", isbn="9780306406157"),
        Holding(agency="LU", barcode="L2", bib_id="b-emma-2", title="Emma", author="Wong, Ka Yan"),
        Holding(agency="CUHK", barcode="C2", bib_id="b-dream", title="紅樓夢", author="曹雪芹"),
        Holding(agency="CUHK", barcode="C3", bib_id="b-sea", title="Dune Sea", author="Chan, Tai Man", isbn="9780441013593"),
    )
    return site.browser()


def led_to(browser: Browser, **keys: str) -> str:
    """The path that an OpenURL redirects to, and its search words."""
    cited = {key.replace("rft_", "rft."): value for key, value in keys.items()}
    answer = browser.get("/openurl?" + urlencode({**CONTEXT, **REFERRER, **cited}))
    assert answer.status_code == 303
    parts = urlsplit(answer.location)
    assert not parts.netloc
    return f"{parts.path} {parse_qs(parts.query).get('q', [''])[0]}".strip()


@pytest.mark.parametrize("isbn", ["9780306406157", "0306406152", "0-306-40615-2", "978-0-306-40615-7"])
def test_isbn_redirects_to_its_title(catalogue: Browser, isbn: str) -> None:
    assert led_to(catalogue, rft_genre="book", rft_isbn=isbn, rft_btitle="another title") == "/title/b-emma"


def test_isbn_shared_by_two_titles_redirects_to_the_search(catalogue: Browser) -> None:
    assert led_to(catalogue, rft_isbn="0441013597") == "/search 9780441013593"


def test_identifier_may_be_an_isbn_or_a_title_id(catalogue: Browser) -> None:
    for identifier, path in (
        ("urn:ISBN:0306406152", "/title/b-emma"),
        ("https://hkall.test/title/b-dream", "/title/b-dream"),
        ("https://hkall.test/title/b-nowhere", "/search"),
        ("info:oclcnum/12345", "/search"),
    ):
        answer = catalogue.get("/openurl?" + urlencode({**CONTEXT, "rft_id": identifier}))
        assert answer.location == path


def test_title_and_author_redirect_to_the_title_matching_both(catalogue: Browser) -> None:
    assert led_to(catalogue, rft_btitle="Emma", rft_aulast="Austen", rft_aufirst="Jane") == "/title/b-emma"
    assert led_to(catalogue, rft_btitle="EMMA", rft_au="Wong, Ka Yan") == "/title/b-emma-2"
    assert led_to(catalogue, rft_title="红楼梦") == "/title/b-dream"


def test_title_with_an_exact_match_precedes_a_longer_title(catalogue: Browser) -> None:
    assert led_to(catalogue, rft_btitle="Dune") == "/title/b-dune"


def test_several_matching_titles_redirect_to_the_search(catalogue: Browser) -> None:
    assert led_to(catalogue, rft_btitle="Emma") == "/search Emma"


def test_author_in_another_script_is_ignored_when_the_title_matches_exactly(catalogue: Browser) -> None:
    assert led_to(catalogue, rft_btitle="紅樓夢", rft_au="Cao, Xueqin") == "/title/b-dream"
    assert led_to(catalogue, rft_btitle="紅樓", rft_au="Cao, Xueqin") == "/search 紅樓"


def test_subtitle_missing_in_the_catalogue_is_ignored(catalogue: Browser) -> None:
    assert led_to(catalogue, rft_btitle="Dune : a novel of the desert", rft_au="Herbert") == "/title/b-dune"


def test_title_without_holdings_redirects_to_the_search(catalogue: Browser) -> None:
    assert led_to(catalogue, rft_btitle="No such book", rft_isbn="9780140449136") == "/search No such book"
    assert led_to(catalogue, rft_isbn="9780140449136") == "/search 9780140449136"


def test_openurl_0_1_keys_are_accepted(catalogue: Browser) -> None:
    assert catalogue.get("/openurl?sid=Entrez&genre=book&isbn=0306406152").location == "/title/b-emma"
    assert catalogue.get("/openurl?genre=book&title=Emma&aulast=Austen").location == "/title/b-emma"


@pytest.mark.parametrize(
    "query",
    ["", "rft.btitle=", "rft.btitle=%22%22%22", "rft.isbn=nonsense", "rft_id=", "rft.btitle=%FF%FE"],
)
def test_empty_citation_redirects_to_the_search(catalogue: Browser, query: str) -> None:
    answer = catalogue.get(f"/openurl?{query}")
    assert answer.status_code == 303
    assert answer.location.startswith("/search")


def test_hostile_citation_redirects_only_to_this_site(catalogue: Browser) -> None:
    for text in ("//evil.test", "x\r\nSet-Cookie: a=b", "https://evil.test/title/b-dune", "x" * 20_000, "書 " * 5_000):
        answer = catalogue.get("/openurl", query_string={"rft.btitle": text, "rft_id": text, "rft.au": text})
        assert answer.status_code == 303
        assert answer.location.startswith(("/search", "/title/b-"))
        assert "Set-Cookie" not in answer.headers
