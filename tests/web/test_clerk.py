"""Ten daily tasks of a clerk, with the clicks and keys that each takes from the page "Today"."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from hkall_gateway.db.loads import catalogue
from hkall_gateway.rules.vocabulary import Position
from tests.web.clerk import Clerk
from tests.web.conftest import Site
from tests.web.given import given, position_of, with_copy
from tests.web.test_patrons import owed, owing

P = Position


def loan(site: Site, number: str = "R-1", late: int = 0) -> None:
    """A loan of UG1, which is late by this many days."""
    today = site.world.now.date()
    due = today - timedelta(days=late) if late else today + timedelta(days=3)
    given(site, P.ON_LOAN, number, due=due, first_checkout=due - timedelta(days=15), loan_days=15, used=True)


def checkout(site: Site) -> Clerk:
    given(site, P.RECEIVED, "R-1", pickup_last=site.world.now.date() + timedelta(days=3))
    clerk = Clerk(site)
    clerk.click("Scan")
    clerk.scan("UG1")
    clerk.scan("B-R-1")
    assert position_of(site, "R-1") == "ON_LOAN"
    return clerk


def check_in(site: Site) -> Clerk:
    loan(site)
    clerk = Clerk(site)
    clerk.click("Scan")
    clerk.scan("B-R-1")
    assert position_of(site, "R-1") == "RETURN_TRANSIT"
    return clerk


def paged_book(site: Site) -> Clerk:
    given(site, P.PAGED, "R-1")
    clerk = Clerk(site)
    clerk.click("Scan")
    clerk.scan("B-R-1")
    clerk.press("Ship")
    assert position_of(site, "R-1") == "SHIPPED"
    return clerk


def pull_list(site: Site) -> Clerk:
    for number, place in (("R-1", "PL2842"), ("R-2", "DS796"), ("R-3", "HD58")):
        with_copy(site, given(site, P.PAGED, number), place)
    clerk = Clerk(site)
    clerk.click("To fetch from our shelves")
    clerk.keys += 1  # Ctrl+P
    clerk.click("Scan")
    for number in ("R-2", "R-3", "R-1"):
        clerk.scan(f"B-{number}")
        clerk.press("Ship")
        assert position_of(site, number) == "SHIPPED"
    return clerk


def decline(site: Site) -> Clerk:
    given(site, P.PAGED, "R-1")
    clerk = Clerk(site)
    clerk.click("To fetch from our shelves")
    clerk.tick("R-1")
    clerk.press("Not on the shelf")
    assert position_of(site, "R-1") == "DECLINED"
    return clerk


def lost_price_payment(site: Site) -> Clerk:
    loan(site)
    clerk = Clerk(site)
    clerk.scan("UG1")
    clerk.open("Lost …")
    clerk.type("dollars", "450")
    clerk.enter()
    assert "Taken: HK$450.00" in clerk.words
    assert site.world.request("R-1").lost_on is not None
    assert owed(site) == 0
    return clerk


def batch(site: Site) -> Clerk:
    """All rows of the list that is open."""
    numbers = [f"R-{number}" for number in range(30)]
    for number in numbers:
        given(site, P.RECEIVED, number, expired_pickup=True)
    clerk = Clerk(site)
    clerk.load("/staff/lists/expired")
    clerk.tick_all()
    clerk.press("Return-unused")
    assert {position_of(site, number) for number in numbers} == {"RETURN_TRANSIT"}
    return clerk


def place_request(site: Site) -> Clerk:
    site.world.store.now(lambda unit: catalogue.fill(unit.connection))
    clerk = Clerk(site)
    clerk.scan("UG1")
    clerk.type("q", "dune")
    clerk.enter()
    clerk.press("Request")
    assert "The request is placed" in clerk.words
    return clerk


def renewal(site: Site) -> Clerk:
    loan(site)
    clerk = Clerk(site)
    clerk.scan("UG1")
    clerk.press("Renew")
    assert site.world.request("R-1").renewals == 1
    return clerk


def payment(site: Site) -> Clerk:
    owing(site)
    clerk = Clerk(site)
    clerk.scan("UG1")
    clerk.press("Take the payment")
    assert owed(site) == 0
    return clerk


# fmt: off
TASKS: dict[str, tuple[Callable[[Site], Clerk], int, int]] = {  # the walk; clicks and keys in release 0.2.0, and now
    "checkout":             (checkout,            1, 1),
    "check-in":             (check_in,            1, 1),
    "scan of a paged book": (paged_book,          2, 2),
    "pull list of three":   (pull_list,           7, 6),
    "decline":              (decline,            16, 3),
    "lost, price, payment": (lost_price_payment, 10, 5),
    "batch act on a list":  (batch,               4, 2),
    "placing for a patron": (place_request,      15, 7),
    "renewal":              (renewal,             3, 1),
    "payment":              (payment,             2, 1),
}
# fmt: on


@pytest.mark.parametrize("task", TASKS)
def test_task_takes_these_clicks_and_keys(site: Site, task: str) -> None:
    walk, _before, now = TASKS[task]
    clerk = walk(site)
    assert clerk.acts == now, (clerk.clicks, clerk.keys)


def test_no_task_takes_more_and_four_take_half() -> None:
    assert all(now <= before for _, before, now in TASKS.values())
    halved = ("decline", "lost, price, payment", "batch act on a list", "placing for a patron")
    assert all(2 * TASKS[task][2] <= TASKS[task][1] for task in halved)
