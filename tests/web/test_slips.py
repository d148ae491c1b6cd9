"""Slips: one per request, with texts and barcodes, printing marks, and barcode images."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest
from lxml import html

from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.layout import STATIC
from hkall_gateway.web.middleware import PICTURE
from hkall_gateway.web.staff.slips import PAPERS, encodable
from tests.web.conftest import Site
from tests.web.given import given, with_copy
from tests.web.test_selection import send

P = Position


def slips(text: str) -> dict[str, str]:
    """The text of each slip, by request number."""
    found = html.fromstring(text).xpath("//article[@data-request]")
    return {one.get("data-request"): " ".join(one.xpath("string(.)").split()) for one in found}


def test_pull_slip_shows_item_location_and_borrowing_library(site: Site) -> None:
    with_copy(site, given(site, P.PAGED, "R-1"), "PL2878 .X4", "Chang")
    page = site.staff().get("/staff/slips?list=pull").text
    words = slips(page)["R-1"]
    for text in ("PL2878 .X4", "Title of R-1", "Chang", "B-R-1", "CUHK", "The Chinese University of Hong Kong Library"):
        assert text in words
    assert html.fromstring(page).xpath("//article//img/@src") == ["/staff/barcode/B-R-1", "/staff/barcode/R-1"]
    assert "Printed before" not in words


def test_pull_slips_are_sorted_in_shelf_order(site: Site) -> None:
    for number, call_number in (("R-1", "QA76.9 .D3"), ("R-2", "QA9 .H6")):
        with_copy(site, given(site, P.PAGED, number), call_number)
    assert list(slips(site.staff().get("/staff/slips").text)) == ["R-2", "R-1"]


@pytest.mark.parametrize(
    ("shows", "there"), [("initials", "CSM …UG1"), ("name", "Chan Siu Ming  陳小明 UG1"), ("card", "Hold shelf …UG1")]
)
def test_hold_shelf_slip_shows_what_the_site_chooses(site: Site, shows: str, there: str) -> None:
    site.settings = replace(site.settings, hold_slip=shows)
    given(site, P.RECEIVED, "R-1", pickup_last=date(2017, 3, 6))
    words = slips(site.staff().get("/staff/slips?list=shelf").text)["R-1"]
    assert " ".join(there.split()) in words
    assert ("Siu" in words) == (shows == "name")


def test_hold_shelf_slip_shows_patron_and_last_day(site: Site) -> None:
    site.settings = replace(site.settings, hold_slip="name")
    given(site, P.RECEIVED, "R-1", pickup_last=date(2017, 3, 6))
    patron = site.world.store.now(lambda unit: unit.patrons.find("UG1"))
    assert patron
    words = slips(site.staff().get("/staff/slips?list=shelf").text)["R-1"]
    for text in (patron.name.reveal(), "UG1", "6 March 2017 (Monday)", "Title of R-1", "CUHK"):
        assert text in words


def test_anonymised_slip_says_that_the_patron_was_removed(site: Site) -> None:
    given(site, P.RECEIVED, "R-1", patron="")
    assert "Patron removed" in slips(site.staff().get("/staff/slips?list=shelf").text)["R-1"]


def test_return_slip_shows_the_lender_and_no_patron(site: Site) -> None:
    given(site, P.TO_RETURN, "R-1")
    words = slips(site.staff().get("/staff/slips?list=to-return").text)["R-1"]
    assert "The Chinese University of Hong Kong Library" in words
    assert "UG1" not in words


def test_slips_are_marked_as_printed_only_when_printed(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    given(site, P.PAGED, "R-2")
    clerk = site.staff()
    clerk.get("/staff/slips?list=pull")
    first = send(clerk, "/staff/slips", ["R-1"], list="pull").text
    again = send(clerk, "/staff/slips", ["R-1", "R-2"], list="pull").text
    assert "Printed before" not in slips(first)["R-1"]
    assert "data-print" in first
    assert "Printed before: 1 Mar 2017, 09:00" in slips(again)["R-1"]
    assert "Printed before" not in slips(again)["R-2"]


@pytest.mark.parametrize(("place", "position"), [("shelf", P.RECEIVED), ("to-return", P.TO_RETURN)])
def test_every_slip_kind_records_printing(site: Site, place: str, position: Position) -> None:
    given(site, position, "R-1")
    clerk = site.staff()
    assert "Printed before" not in slips(send(clerk, "/staff/slips", ["R-1"], list=place).text)["R-1"]
    assert "Printed before" in slips(send(clerk, "/staff/slips", ["R-1"], list=place).text)["R-1"]


def test_hold_shelf_slip_and_return_slip_are_tracked_separately(site: Site) -> None:
    given(site, P.RECEIVED, "R-1")
    clerk = site.staff()
    send(clerk, "/staff/slips", ["R-1"], list="shelf")
    site.wait(minutes=5)
    send(clerk, "/staff/lists/shelf/act", ["R-1"], action="return_unused")
    assert "Printed before" not in slips(clerk.get("/staff/slips?list=to-return&request=R-1").text)["R-1"]


def test_unprinted_slips_can_be_listed(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    given(site, P.PAGED, "R-2")
    clerk = site.staff()
    send(clerk, "/staff/slips", ["R-1"], list="pull")
    assert list(slips(clerk.get("/staff/slips?list=pull&unprinted=1").text)) == ["R-2"]


def test_single_slips_can_be_printed_unless_the_request_has_moved_on(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    given(site, P.RECEIVED, "R-2")
    page = site.staff().get("/staff/slips?list=pull&request=R-1&request=R-2&request=R-NONE").text
    assert list(slips(page)) == ["R-1"]
    assert "2 requests have no such slip" in page


@pytest.mark.parametrize("query", ["list=overdue", "list=pull&paper=../../etc", "list=x"])
def test_unknown_list_or_paper_size_is_not_found(site: Site, query: str) -> None:
    assert site.staff().get(f"/staff/slips?{query}").status_code == 404


@pytest.mark.parametrize("paper", PAPERS)
def test_every_paper_size_has_a_print_style_sheet(site: Site, paper: str) -> None:
    given(site, P.PAGED, "R-1")
    page = html.fromstring(site.staff().get(f"/staff/slips?list=pull&paper={paper}").text)
    (sheet,) = page.xpath("//link[@media='print']/@href")
    assert "@page" in (STATIC / f"slips-{paper}.css").read_text(encoding="utf-8")
    assert str(sheet).startswith(f"/static/slips-{paper}.css")


def test_paper_size_is_remembered_in_a_cookie(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    clerk = site.staff()
    clerk.get("/staff/slips?paper=thermal")
    for text in (clerk.get("/staff/slips").text, send(clerk, "/staff/slips", ["R-1"], list="pull").text):
        assert html.fromstring(text).xpath("//option[@value='thermal']/@selected") == ["selected"]
    clerk.client.set_cookie("__Host-hkall-paper", "../a6")
    assert "slips-a6.css" in clerk.get("/staff/slips").text


def test_patron_names_are_restricted_to_clerks(site: Site) -> None:
    assert site.staff("viewer").get("/staff/slips?list=shelf").status_code == 403
    assert site.staff("viewer").get("/staff/barcode/B-1").status_code == 403


# ---- barcodes


def test_barcode_is_an_image_with_its_own_content_security_policy(site: Site) -> None:
    answer = site.staff().get("/staff/barcode/R-7K2M4Q9XW3TD")
    assert answer.mimetype == "image/svg+xml"
    assert answer.headers["Content-Security-Policy"] == PICTURE
    assert b"<rect" in answer.data


@pytest.mark.parametrize("text", ["%E7%B4%85", "x" * 41, "%C2%A0"])
def test_barcode_with_characters_outside_code_128_is_not_drawn(site: Site, text: str) -> None:
    assert site.staff().get(f"/staff/barcode/{text}").status_code == 404


def test_barcode_with_a_slash_is_drawn(site: Site) -> None:
    assert site.staff().get("/staff/barcode/A/1").status_code == 200
    assert [encodable(text) for text in ("A/1", "", "é", "a\n")] == [True, False, False, False]
