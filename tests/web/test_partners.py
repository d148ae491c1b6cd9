"""The partners page: channel, unsent messages, balance, replies."""

from __future__ import annotations

from lxml import html

from hkall_gateway.rules.circuit import DOWN, CircuitState
from hkall_gateway.rules.vocabulary import Position
from tests.web.conftest import Site
from tests.web.given import given

P = Position


def rows(site: Site) -> dict[str, str]:
    page = html.fromstring(site.staff("viewer").get("/staff/partners").text)
    return {row.get("data-partner"): " ".join(row.xpath("string(.)").split()) for row in page.xpath("//tr[@data-partner]")}


def test_every_partner_is_listed(site: Site) -> None:
    found = rows(site)
    assert list(found) == ["CUHK", "HKUST", "LU", "POLYU"]
    assert "The Chinese University of Hong Kong Library" in found["CUHK"]
    assert "Not used yet" in found["CUHK"]


def test_loans_in_both_directions_are_counted_with_their_balance(site: Site) -> None:
    for number in range(3):
        given(site, P.SHIPPED, f"R-{number}")
    given(site, P.ON_LOAN, "R-9")
    page = html.fromstring(site.staff("viewer").get("/staff/partners").text)
    (row,) = page.xpath("//tr[@data-partner='CUHK']")
    figures = {cell.get("data-label"): cell.xpath("string(.)").strip() for cell in row.xpath("./td")}
    assert (figures["They lent"], figures["We lent"], figures["Balance"]) == ("1", "3", "+2")


def test_channel_that_is_down_is_shown_with_the_start_of_the_outage(site: Site) -> None:
    site.world.store.now(
        lambda unit: unit.circuits.keep(CircuitState(agency="CUHK", state=DOWN, failures=5, down_since=site.world.now))
    )
    assert "Downsince 1 Mar 2017, 09:00" in rows(site)["CUHK"]


def test_refusal_text_of_a_partner_is_shown_escaped(site: Site) -> None:
    site.world.store.now(
        lambda unit: unit.circuits.keep(
            CircuitState(agency="CUHK", state=DOWN, failures=1, down_since=site.world.now, fault="<b>unknown</b>")
        )
    )
    page = site.staff("viewer").get("/staff/partners").text
    assert "Refuses us" in page
    assert "&lt;b&gt;unknown&lt;/b&gt;" in page


def test_unsent_messages_are_counted(site: Site) -> None:
    world = site.world
    world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    assert "1 since 1 Mar 2017" in rows(site)["CUHK"]
