"""The dashboard: counts per list, channels that are down, and late rounds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

import pytest
from lxml import html

from hkall_gateway.rules.circuit import DOWN, CircuitState
from hkall_gateway.web.callers import Share
from hkall_gateway.web.limits import USE, PageUse
from hkall_gateway.web.staff.lists import WORK_LISTS
from hkall_gateway.web.staff.unsent import KINDS
from tests.web.conftest import Site
from tests.web.test_unsent import given_up

DAY = timedelta(days=1)


def counts(site: Site) -> Mapping[str, int]:
    page = html.fromstring(site.staff("viewer").get("/staff/").text)
    return {
        row.get("data-list"): int(row.xpath("string(.//span[contains(@class, 'count')])"))
        for row in page.xpath("//li[@data-list]")
    }


def test_every_list_is_counted(site: Site) -> None:
    assert counts(site) == dict.fromkeys([*WORK_LISTS, *KINDS], 0)


def test_request_is_counted_in_its_position(site: Site) -> None:
    world = site.world
    world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    world.pump()
    (request,) = world.store.now(lambda unit: unit.requests.open_of_patron("UG1"))
    assert counts(site)["expected"] == (1 if request.position == "IN_TRANSIT" else 0)
    page = html.fromstring(site.staff("viewer").get("/staff/").text)
    assert [row.xpath("string(.)").split() for row in page.xpath("//section[h2='Moved today']//li")] == [
        ["Requested", "from", "a", "lender1"]
    ]


def test_channel_that_is_down_is_shown_with_the_start_of_the_outage(site: Site) -> None:
    since = site.world.now
    site.world.store.now(lambda unit: unit.circuits.keep(CircuitState(agency="CUHK", state=DOWN, failures=5, down_since=since)))
    page = site.staff("viewer").get("/staff/").text
    assert "CUHK" in page
    assert 'no answer since <span title="1 March 2017 (Wednesday), 09:00">1 Mar 2017, 09:00</span>' in page


def test_partner_fault_is_shown_with_its_original_text(site: Site) -> None:
    site.world.store.now(
        lambda unit: unit.circuits.keep(
            CircuitState(agency="CUHK", state=DOWN, failures=1, down_since=site.world.now, fault="unknown agency <HKU>")
        )
    )
    page = site.staff("viewer").get("/staff/").text
    assert "unknown agency &lt;HKU&gt;" in page


def test_overdue_round_is_shown_by_name(site: Site) -> None:
    site.world.round("overdue")
    site.world.wait(2 * DAY)
    page = site.staff("viewer").get("/staff/").text
    assert "Overdue letters" in page


def test_empty_counts_are_hidden(site: Site) -> None:
    assert "Needs someone" not in site.staff("viewer").get("/staff/").text


def test_refreshing_section_is_marked_for_the_script(site: Site) -> None:
    page = html.fromstring(site.staff("viewer").get("/staff/").text)
    assert page.xpath("//main//@data-refresh") == ["15"]


@pytest.mark.parametrize(("role", "leads"), [("viewer", []), ("clerk", []), ("supervisor", ["/staff/unsent?kind=dead"])])
def test_dead_letters_link_to_their_page_for_supervisors(site: Site, role: str, leads: list[str]) -> None:
    given_up(site)
    page = html.fromstring(site.staff(role).get("/staff/").text)
    (row,) = page.xpath("//li[@data-list='dead']")
    assert row.xpath("string(.)").split() == ["Given", "up", "1"]
    assert row.xpath(".//a/@href") == leads


def test_channel_that_is_down_links_to_the_partners_page(site: Site) -> None:
    site.world.store.now(
        lambda unit: unit.circuits.keep(CircuitState(agency="CUHK", state=DOWN, failures=5, down_since=site.world.now))
    )
    page = html.fromstring(site.staff("viewer").get("/staff/").text)
    assert page.xpath("//ul[@class='alerts']//a/@href") == ["/staff/partners"]


@pytest.mark.parametrize(
    ("share", "caller", "words"),
    [
        (Share.PROGRAMS, "token vufind", "The program vufind has asked for 400 of the 400 pages of the last five minutes."),
        (Share.PATRONS, "patron UG1", "One patron has asked for 400 of the 400 pages of the last five minutes."),
        (
            Share.STRANGERS,
            "192.0.2.1",
            "One network has asked without a login for 400 of the 400 pages of the last five minutes.",
        ),
    ],
)
def test_caller_with_most_of_the_pages_is_shown_without_card_or_address(
    site: Site, share: Share, caller: str, words: str
) -> None:
    viewer = site.staff("viewer")
    assert "last five minutes" not in viewer.get("/staff/").text
    use: PageUse = site.app.extensions[USE]
    for number in range(400):
        use.count(share, caller, refused=number < 100)
    page = viewer.get("/staff/").text
    assert f"{words} 100 were refused." in page
    assert re.search(r"\bUG1\b", page) is None  # a random token may contain these letters
    assert "192.0.2.1" not in page
