"""A title page with live item status from the libraries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from datetime import datetime
from typing import Any

from lxml import html

from hkall_gateway.circulation.ports import CopyStatus, LiveStatuses
from hkall_gateway.rules.vocabulary import Holding, ItemKey
from hkall_gateway.web.api.patron_models import CopyRecord
from hkall_gateway.web.app import make_app
from hkall_gateway.web.patron.title import COLUMNS
from hkall_gateway.web.services import EXTENSION, WebServices
from tests.web.conftest import Browser, Site

C1, S1, C4 = ItemKey("CUHK", "C1"), ItemKey("HKUST", "S1"), ItemKey("CUHK", "C4")


def visit(site: Site, path: str, said: dict[ItemKey, str], *, asking: bool = False) -> Any:
    """The title page with this live status from the libraries."""
    at: datetime = site.world.now
    found = LiveStatuses({key: CopyStatus(status, at) for key, status in said.items()}, asking)

    def live(_bib_id: str, copies: Sequence[Holding]) -> LiveStatuses:
        assert said.keys() <= {one.key for one in copies}
        return found

    site.world.store.now(
        lambda unit: unit.partners.write([replace(one, can_lookup_items=True) for one in site.world.start.partners])
    )
    own: WebServices = site.app.extensions[EXTENSION]
    return Browser(make_app(replace(own, live_status=live)).test_client()).get(path)


def copies(answer: Any) -> dict[str, tuple[str, str]]:
    """The status of each library's item, and its time."""
    rows = html.fromstring(answer.text).xpath("//tr[@data-agency]")
    return {
        one.get("data-agency"): (one.xpath("string(td[last()]/span/span)"), one.xpath("string(td[last()]//small)"))
        for one in rows
    }


def test_item_lent_since_loading_is_not_shown_as_available(site: Site) -> None:
    answer = visit(site, "/title/b-dune", {C1: "On Loan", S1: "Available On Shelf"})
    assert copies(answer) == {"CUHK": ("Checked out", "as of 09:00"), "HKUST": ("AVAILABLE", "as of 09:00")}


def test_item_without_a_live_status_is_shown_as_loaded(site: Site) -> None:
    assert copies(visit(site, "/title/b-dune", {C1: "On Loan"}))["HKUST"] == ("AVAILABLE", "")


def test_item_returned_since_loading_is_shown_but_cannot_be_requested(site: Site) -> None:
    answer = visit(site, "/title/b-out", {C4: "Available On Shelf"})
    assert copies(answer)["CUHK"] == ("On the shelf", "as of 09:00")
    assert "No library has a copy to lend now." in answer.text


def test_patron_is_warned_when_the_last_items_are_gone(site: Site) -> None:
    gone = "a request may not be filled"
    assert gone not in visit(site, "/title/b-dune", {C1: "On Loan"}).text
    assert gone in visit(site, "/title/b-dune", {C1: "On Loan", S1: "Missing"}).text
    assert gone not in visit(site, "/title/b-out", {C4: "On Loan"}).text


def test_status_text_of_a_library_is_shown_unchanged(site: Site) -> None:
    assert copies(visit(site, "/title/b-dune", {C1: "<b>Room 3</b>"}))["CUHK"] == ("<b>Room 3</b>", "as of 09:00")


def test_page_awaiting_a_status_is_not_cached_and_reloads(site: Site) -> None:
    answer = visit(site, "/title/b-dune", {}, asking=True)
    page = html.fromstring(answer.text)
    assert answer.headers["Cache-Control"] == "no-store"
    assert page.xpath("//section[@id='copies']/@data-refresh") == ["3"]
    assert "being asked" in page.xpath("string(//section[@id='copies']//*[@role='status'])")


def test_complete_page_does_not_reload(site: Site) -> None:
    answer = visit(site, "/title/b-dune", {C1: "On Loan"})
    page = html.fromstring(answer.text)
    assert "max-age=60" in answer.headers["Cache-Control"]
    assert page.xpath("//section[@id='copies']/@data-refresh") == []
    assert page.xpath("string(//section[@id='copies']//*[@role='status'])") == ""


def test_only_libraries_with_lookups_are_queried(site: Site) -> None:
    asked: list[str] = []

    def live(_bib_id: str, copies: Sequence[Holding]) -> LiveStatuses:
        asked.extend(one.agency for one in copies)
        return LiveStatuses()

    (cuhk,) = (one for one in site.world.start.partners if one.agency == "CUHK")
    site.world.store.now(lambda unit: unit.partners.write([replace(cuhk, can_lookup_items=True)]))
    own: WebServices = site.app.extensions[EXTENSION]
    client = make_app(replace(own, live_status=live)).test_client()
    for path in ("/title/b-dune", "/api/v1/titles/b-dune"):
        assert client.get(path).status_code == 200
    assert asked == ["CUHK", "CUHK"]


NOT_SHOWN = {"agency", "barcode", "bib_id", "title", "author", "isbn", "status", "lendable", "material", "local_bib_id"}
"""Item fields that are not columns of the title page: shown elsewhere, or only for staff."""


def test_every_item_field_is_a_title_page_column_or_explicitly_omitted() -> None:
    assert {field.name for field in fields(Holding)} == COLUMNS.keys() | NOT_SHOWN


def test_every_title_page_column_is_an_item_field_in_the_api() -> None:
    assert COLUMNS.keys() <= CopyRecord.model_fields.keys()
