"""A form that is sent twice (double click, back button, reload) takes effect once, and gets the first answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import pytest
from sqlalchemy import func, select

from hkall_gateway.db import fines
from hkall_gateway.db.tables import METADATA
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.vocabulary import Position
from tests.web.conftest import FORM_KEY, Browser, Site
from tests.web.given import given, owe_refund
from tests.web.test_clerk import loan
from tests.web.test_patrons import owed, owing, page_of
from tests.web.test_unsent import BY, given_up

PATRON, CLERK, SUPERVISOR = "patron", "clerk", "supervisor"


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form: the path to which it is sent, its page, who sends it, and what is typed.

    `{patron}` stands for the address of UG1's page, `{lent}` for a loan, `{row}` for a message that was given up.
    """

    path: str
    page: str
    role: str = CLERK
    typed: dict[str, str] = field(default_factory=dict)


# fmt: off
FORMS: Final[dict[str, Form]] = {
    "/title/<title:bib_id>/request": Form(
        path="/title/b-dune/request", page="/title/b-dune/request", role=PATRON,
        typed={"home_library": "HKU", "pickup": "HKU-MAIN-LENDING"}),
    "/record/cancel": Form(path="/record/cancel", page="/record", role=PATRON, typed={"request": "{asked}"}),
    "/record/renew": Form(path="/record/renew", page="/record", role=PATRON, typed={"request": "{lent}"}),
    "/record/renew-all": Form(path="/record/renew-all", page="/record", role=PATRON),
    "/record/history": Form(path="/record/history", page="/record/history", role=PATRON, typed={"keep": "yes"}),
    "/staff/patrons/<number>/request": Form(path="{patron}/request", page="{patron}", typed={"bib_id": "b-dune"}),
    "/staff/patrons/<number>/act": Form(
        path="{patron}/act", page="{patron}", typed={"action": "lost", "request": "{lent}", "dollars": "450", "paid": "1"}),
    "/staff/patrons/<number>/pay": Form(path="{patron}/pay", page="{patron}", typed={"amount": "2.50"}),
    "/staff/patrons/<number>/refund": Form(path="{patron}/refund", page="{patron}", typed={"amount": "300"}),
    "/staff/requests/<number>/<name>": Form(
        path="/staff/requests/R-1/decline", page="/staff/requests/R-1", typed={"reason": "not there", "seen": "1000000"}),
    "/staff/lists/<name>/act": Form(
        path="/staff/lists/pull/act", page="/staff/lists/pull", typed={"request": "R-1", "action": "decline", "reason": "x"}),
    "/staff/unsent/<kind>": Form(
        path="/staff/unsent/dead", page="/staff/unsent?kind=dead", role=SUPERVISOR,
        typed={"row": "{row}", "how": "done", "reason": "by telephone"}),
    "/staff/closures/close": Form(
        path="/staff/closures/close", page="/staff/closures", role=SUPERVISOR,
        typed={"day": "{due}", "reason": "typhoon", "apply": "1"}),
    "/staff/closures/due-dates": Form(
        path="/staff/closures/due-dates", page="/staff/closures", role=SUPERVISOR,
        typed={"first": "{due}", "last": "{due}", "to": "2017-06-01", "reason": "typhoon", "apply": "1"}),
    "/staff/scan": Form(path="/staff/scan", page="/staff/scan", typed={"barcode": "B-R-2"}),
}
"""The forms that change something, by their route."""
# fmt: on

CHANGE_NOTHING: Final = {
    "/login", "/logout", "/staff/login", "/staff/logout", "/staff/keys", "/staff/requests", "/staff/explain", "/staff/patrons",
    "/staff/lists/<name>/selected", "/staff/scan/place", "/staff/slips", "/staff/patrons/<number>/export",
}  # fmt: skip
"""Forms that find or show something, or set a cookie, or open or close a session."""
NAMED_OTHERWISE: Final = {"/staff/scan/take", "/staff/patrons/<number>/erase"}
"""Forms whose repetition is harmless by what it names: the fine of one scan, a person who is erased already."""
OWN_TABLES: Final = {"web_sessions", "web_scans", "inbox"}
"""What a repetition may write: the session's own rows."""


def contents(site: Site) -> dict[str, int]:
    """Return the number of rows of each table that is not the pages' own, and the sum that UG1 owes."""

    def count(unit: UnitOfWork) -> dict[str, int]:
        tables = [table for table in METADATA.sorted_tables if table.name not in OWN_TABLES]
        return {table.name: unit.connection.scalar(select(func.count()).select_from(table)) or 0 for table in tables}

    return {**site.world.store.now(count), "owed": owed(site)}


def prepared(site: Site) -> dict[str, str]:
    """Put everything in place that the forms name. Return the words that stand for it."""
    given(site, Position.PAGED, "R-1")
    given(site, Position.IN_TRANSIT, "R-2")
    given(site, Position.REQUESTED, "R-4")
    loan(site, "R-3")
    lent = site.world.request("R-3")
    site.world.store.now(lambda unit: fines.charge(unit, lent, "overdue", 1250, "R40", site.world.now, BY))
    dead = given_up(site, "b-dream")
    owe_refund(site, "UG1", 30_000)
    assert lent.due is not None
    return {"lent": lent.id, "asked": "R-4", "row": str(dead), "due": lent.due.isoformat()}


def browser_of(site: Site, role: str) -> Browser:
    return site.patron() if role == PATRON else site.staff(role)


def test_every_form_is_sent_twice_or_says_why_not(site: Site) -> None:
    posted = {rule.rule for rule in site.app.url_map.iter_rules() if "POST" in (rule.methods or ())}
    assert posted == {*FORMS} | CHANGE_NOTHING | NAMED_OTHERWISE


@pytest.mark.parametrize("route", FORMS)
def test_form_that_is_sent_twice_takes_effect_once_and_gets_the_first_answer(site: Site, route: str) -> None:
    form, words = FORMS[route], prepared(site)
    words["patron"] = page_of(site.staff())
    browser = browser_of(site, form.role)
    path = form.path.format_map(words)
    fields = {name: value.format_map(words) for name, value in form.typed.items()}
    hidden = browser.hidden_fields(form.page.format_map(words))
    untouched = contents(site)

    first = browser.send(path, **hidden, **fields)
    once = contents(site)
    second = browser.send(path, **hidden, **fields)

    assert first.status_code in (200, 303), first.text
    assert once != untouched, "the form changed nothing"
    assert contents(site) == once
    assert second.status_code == first.status_code, second.text
    if route != "/staff/scan":  # each scan has a number, and the second says that the book is here already
        assert second.location == first.location


def test_other_amount_on_a_page_that_was_paid_already_is_not_taken(site: Site) -> None:
    """The back button shows the page with the key that it had. The page of the answer has a new one."""
    owing(site)
    clerk = site.staff()
    address = page_of(clerk)
    hidden = clerk.hidden_fields(address)
    assert clerk.send(f"{address}/pay", **hidden, amount="2.50").status_code == 303
    answer = clerk.send(f"{address}/pay", **hidden, amount="1.00")
    assert answer.status_code == 409
    assert owed(site) == 1000
    key = FORM_KEY.search(answer.text)
    assert key
    assert clerk.send(f"{address}/pay", **{**hidden, "form_key": key[1]}, amount="1.00").status_code == 303
    assert owed(site) == 900


# ---- a second request for one title


def test_second_request_for_a_title_is_placed_after_a_question(site: Site) -> None:
    """Two tabs: each has a key of its own."""
    clerk = site.staff()
    address = page_of(clerk)
    first = clerk.post(f"{address}/request", at=address, bib_id="b-dream")
    assert first.status_code == 303

    asked = clerk.post(f"{address}/request", at=address, bib_id="b-dream")

    assert asked.status_code == 409
    assert "This patron has this title already, or has asked for it:" in asked.text
    (one,) = site.world.store.now(lambda unit: unit.requests.open_of_patron("UG1", "b-dream"))
    assert f">{one.id}</a>" in asked.text
    another = clerk.post(f"{address}/request", at=address, bib_id="b-dream", another="yes")
    assert another.status_code == 303
    assert another.location != first.location
    assert len(site.world.store.now(lambda unit: unit.requests.open_of_patron("UG1", "b-dream"))) == 2
