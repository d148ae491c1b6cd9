"""A title in two scripts, from the catalogue to the request, the pages, the slips, the letters and the API."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from io import StringIO
from typing import Any

import pytest
from lxml import html

from hkall_gateway.db import fines
from hkall_gateway.rules.vocabulary import Actor, Holding, Position, Request, Title
from tests.web.conftest import Browser, Site
from tests.web.given import given
from tests.web.test_api import program
from tests.web.test_patron_search import load
from tests.web.test_requests import FIND

P = Position
ROMANISED, ORIGINAL = "Cheng nan jiu shi", "城南舊事"
BOTH = f"{ORIGINAL} / {ROMANISED}"
TITLE = Title(
    bib_id="b-31", title=ROMANISED, author="Lin Haiyin", language="chi", linked_title=ORIGINAL, linked_author="林海音"
)
CLERK = Actor(who="test", channel="world")


@pytest.fixture
def known(site: Site) -> Site:
    """A site whose catalogue has the title in both scripts, with a copy at CUHK and one of our own under another number."""
    load(
        site, Holding(agency="CUHK", barcode="C31", bib_id="b-31", title=ROMANISED, author="Lin Haiyin"), titles={"b-31": TITLE}
    )
    load(
        site,
        Holding(agency="HKU", barcode="H31", bib_id="b-32", title=ROMANISED),
        titles={"b-32": replace(TITLE, bib_id="b-32")},
    )
    return site


@pytest.fixture
def at(known: Site) -> Callable[..., Request]:
    """Inserts a request for the title with a position and any fields. Its item is C31 of CUHK, borrowed by UG1."""

    def put(position: Position, **facts: Any) -> Request:
        return given(known, position, "R-31", **{"title": ROMANISED, "bib_id": "b-31", "item_barcode": "C31", **facts})

    return put


def placed(site: Site, card: str = "UG1") -> Request:
    """Place a request for the title on its page, and return the request."""
    fields = {"home_library": "HKU", "pickup": "HKU-MAIN-LENDING"}
    assert site.patron(card).post("/title/b-31/request", **fields).status_code == 303
    (found,) = site.world.store.now(lambda unit: unit.requests.open_of_patron(card))
    return found


def page(browser: Browser, path: str, language: str = "en") -> Any:
    answer = browser.get(path, headers={"Accept-Language": language})
    assert answer.status_code == 200, path
    return html.fromstring(answer.text)


def words(element: Any) -> str:
    return " ".join(element.xpath("string(.)").split())


def assert_marked(shown: Any, text: str = ORIGINAL) -> None:
    """On an English page, every visible occurrence of the text is in an element with a Chinese `lang`."""
    found = shown.xpath(f"//main//text()[contains(., '{text}')]")
    assert found
    assert {one.getparent().get("lang") for one in found} == {"zh-Hant"}


def test_request_keeps_both_scripts_from_the_moment_it_is_placed(known: Site) -> None:
    found = placed(known)
    assert (found.title, found.linked_title) == (ROMANISED, ORIGINAL)
    load(
        known,
        Holding(agency="CUHK", barcode="C31", bib_id="b-31", title="Another title"),
        titles={"b-31": Title(bib_id="b-31", title="Another title")},
    )
    assert known.world.request(found.id).full_title == BOTH


def test_request_of_a_partner_has_both_scripts_of_our_own_title(known: Site) -> None:
    known.world.tell("CUHK", "RequestItem user=CUHK-INST bib=b-32 request=c-1")
    (row,) = known.world.store.now(lambda unit: unit.requests.open_list("PAGED"))
    assert (row.title, row.linked_title) == (ROMANISED, ORIGINAL)
    clerk = known.staff()
    for path in ("/staff/slips?list=pull", "/staff/lists/pull", f"{FIND}/{row.id}"):
        shown = page(clerk, path)
        assert BOTH in words(shown)
        assert_marked(shown)


def test_lender_is_asked_for_the_title_in_both_scripts(known: Site) -> None:
    found = placed(known)
    (row,) = known.world.outbox()
    assert (row.request, row.payload.title) == (found.id, BOTH)  # type: ignore[union-attr]  # a message to a partner


@pytest.mark.parametrize("language", ["en", "zh-Hant"])
def test_patron_pages_show_both_scripts(at: Callable[..., Request], known: Site, language: str) -> None:
    at(P.ON_LOAN, due=date(2017, 3, 16), loan_days=15)
    given(known, P.REQUESTED, "R-32", title=ROMANISED, bib_id="b-31", item_barcode="")
    patron = known.patron()
    for path in ("/record", "/search?q=cheng+nan", "/title/b-31", "/title/b-31/request"):
        shown = page(patron, path, language)
        assert BOTH in words(shown.xpath("//main")[0]), path
        if language == "en":
            assert_marked(shown)
        else:  # the language of the page itself needs no mark
            assert not shown.xpath("//main//span[@lang]")
    (cancel,) = page(patron, "/record", language).xpath("//form[@data-confirm]//@aria-label")
    assert cancel.endswith(f": {BOTH}")


def test_history_shows_returned_books_and_letters_in_both_scripts(at: Callable[..., Request], known: Site) -> None:
    patron = known.patron()
    patron.post("/record/history", keep="yes")
    today = known.world.now.date()
    at(P.ON_LOAN, due=today - timedelta(days=1), loan_days=15, first_checkout=today - timedelta(days=16))
    given(known, P.CLOSED, "R-32", title=ROMANISED, bib_id="b-31", returned_on=today)
    known.world.round("overdue")
    known.world.pump()
    shown = page(patron, "/record/history")
    assert words(shown.xpath("//th[@scope='row']")[0]) == BOTH
    assert BOTH in words(shown.xpath("//summary")[0])
    assert_marked(shown)


@pytest.mark.parametrize(("card", "subject"), [("UG1", "Ready for you"), ("UG2", "可供領取")])
def test_pickup_letter_shows_the_original_script_first(
    at: Callable[..., Request], known: Site, card: str, subject: str
) -> None:
    at(P.IN_TRANSIT, patron=card)
    assert known.staff().post("/staff/scan", barcode="C31").status_code in (200, 303)
    known.world.pump()
    (letter,) = known.world.letters
    assert letter.patron == card
    assert letter.subject.startswith(subject)
    assert letter.subject.endswith(BOTH)
    assert f"\n\n{BOTH}\nLin Haiyin\n" in letter.text


def test_scan_station_shows_both_scripts_in_the_answer_and_earlier_scans(at: Callable[..., Request], known: Site) -> None:
    at(P.IN_TRANSIT)
    clerk = known.staff()
    clerk.post("/staff/scan", barcode="C31")
    shown = page(clerk, clerk.post("/staff/scan", barcode="H31").location or "")
    assert BOTH in words(shown.xpath("//main//*[@role='status']")[0])
    assert [words(cell) for cell in shown.xpath("//tr[@data-outcome]/td[3]")] == [BOTH]
    assert_marked(shown)


@pytest.mark.parametrize(
    ("position", "path"),
    [
        (P.RECEIVED, "/staff/lists/shelf"),
        (P.RECEIVED, "/staff/slips?list=shelf"),
        (P.TO_RETURN, "/staff/slips?list=to-return"),
        (P.ON_LOAN, "/staff/lists/on-loan"),
        (P.ON_LOAN, f"{FIND}/R-31"),
    ],
)
@pytest.mark.parametrize("language", ["en", "zh-Hant"])
def test_staff_pages_show_both_scripts(
    at: Callable[..., Request], known: Site, position: Position, path: str, language: str
) -> None:
    at(position, due=date(2017, 3, 16))
    shown = page(known.staff(), path, language)
    assert BOTH in words(shown.xpath("//main")[0])
    if language == "en":
        assert_marked(shown)


def test_patron_page_of_staff_shows_both_scripts_of_loans_and_fines(at: Callable[..., Request], known: Site) -> None:
    loan = at(P.ON_LOAN, due=date(2017, 2, 20))
    known.world.store.now(lambda unit: fines.charge(unit, loan, fines.OVERDUE, 400, "R40", known.world.now, CLERK))
    found = known.staff().post("/staff/patrons", q="UG1")
    shown = page(known.staff(), found.location or html.fromstring(found.text).xpath("//td/a/@href")[0])
    assert [words(cell) for cell in shown.xpath("//td[@data-label='Title']")] == [BOTH] * 2
    assert_marked(shown)


def test_names_and_reasons_in_chinese_are_marked(at: Callable[..., Request], known: Site) -> None:
    known.settings = replace(known.settings, hold_slip="name")
    at(P.RECEIVED, pickup_last=date(2017, 3, 6))
    clerk = known.staff("supervisor")
    assert_marked(page(clerk, "/staff/slips?list=shelf"), "陳小明")
    assert_marked(page(clerk, f"{FIND}/R-31"), "陳小明")
    clerk.post("/staff/closures/close", at="/staff/closures", day="2017-03-20", reason="颱風", apply="1")
    assert_marked(page(clerk, "/staff/closures"), "颱風")


def test_csv_has_a_column_for_each_script(at: Callable[..., Request], known: Site) -> None:
    at(P.RECEIVED)
    text = known.staff().get("/staff/lists/shelf.csv").text
    (row,) = csv.DictReader(StringIO(text.removeprefix("\ufeff")))
    assert (row["Title"], row["Title in the original script"]) == (ROMANISED, ORIGINAL)


@pytest.mark.parametrize("typed", ["城南", "cheng NAN", BOTH, "舊事 / cheng"])
@pytest.mark.parametrize("position", [P.IN_TRANSIT, P.CANCELLED])
def test_request_is_found_by_either_script(at: Callable[..., Request], known: Site, position: Position, typed: str) -> None:
    at(position)
    given(known, position, "R-32", title=ROMANISED, bib_id="b-31")
    shown = html.fromstring(known.staff().post(FIND, q=typed).text)
    assert {words(row.xpath("th")[0]) for row in shown.xpath("//tr[@data-request]")} == {BOTH}
    assert sorted(shown.xpath("//tr/@data-request")) == ["R-31", "R-32"]


@pytest.mark.parametrize("typed", ["城南舊事", "城南旧事", "南旧"])
@pytest.mark.parametrize(
    "title", [{"title": "城南舊事"}, {"title": "城南旧事"}, {"title": ROMANISED, "linked_title": "城南舊事"}]
)
@pytest.mark.parametrize("position", [P.REQUESTED, P.CLOSED])
def test_request_without_a_catalogued_title_is_found_by_either_chinese_script(
    site: Site, position: Position, title: dict[str, str], typed: str
) -> None:
    given(site, position, "R-41", **title)
    given(site, position, "R-42", title="北京舊聞")
    assert site.staff().post(FIND, q=typed).location == f"{FIND}/R-41"


def test_patron_search_finds_a_title_by_either_script(known: Site) -> None:
    for typed in ("城南舊事", "城南旧事", "cheng nan jiu shi"):
        assert "b-31" in page(known.browser(), f"/search?q={typed}").xpath("//li/@data-title"), typed


def test_api_gives_each_script_its_own_field(at: Callable[..., Request], known: Site) -> None:
    at(P.ON_LOAN, due=date(2017, 3, 16))
    client, key = known.app.test_client(), {"Authorization": f"Bearer {program(known).secret}"}
    token = client.post("/api/v1/patron-token", json={"barcode": "UG1", "pin": "1234"}).json["token"]  # type: ignore[index]
    record = client.post("/api/v1/patron/record", json={}, headers={"Authorization": f"Bearer {token}"}).json
    listed = client.get("/api/v1/lists/on-loan", headers=key).json
    for found in (record["loans"][0], listed["rows"][0]["request"]):  # type: ignore[index]
        assert (found["title"], found["linked_title"]) == (ROMANISED, ORIGINAL)


def test_request_without_an_original_script_shows_only_its_title(at: Callable[..., Request], known: Site) -> None:
    at(P.RECEIVED, bib_id="b-unknown", pickup_last=date(2017, 3, 6))
    for browser, path in ((known.patron(), "/record"), (known.staff(), "/staff/lists/shelf"), (known.staff(), f"{FIND}/R-31")):
        text = words(page(browser, path).xpath("//main")[0])
        assert ROMANISED in text
        assert "/ Cheng" not in text
    assert known.staff().post(FIND, q="cheng nan").location == f"{FIND}/R-31"


def test_title_that_is_only_in_its_original_script_is_shown_once(site: Site) -> None:
    load(
        site,
        Holding(agency="CUHK", barcode="C33", bib_id="b-33", title=ORIGINAL),
        titles={"b-33": Title(bib_id="b-33", title=ORIGINAL, linked_title=ORIGINAL)},
    )
    given(site, P.ON_LOAN, "R-33", title=ORIGINAL, bib_id="b-33", due=date(2017, 3, 16))
    assert words(page(site.patron(), "/record").xpath("//th[@scope='row']")[0]).startswith(f"{ORIGINAL} from")
