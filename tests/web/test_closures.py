"""/staff/closures: a late closure is previewed before it is applied; due dates are changed in bulk, with a reason."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from hkall_gateway.circulation.staff.actions import Act
from hkall_gateway.db.database import finished
from hkall_gateway.rules.dates import civil
from hkall_gateway.rules.vocabulary import Position, Request
from tests.web.conftest import Site
from tests.web.test_unsent import BY, requested


def on_loan(site: Site, bib_id: str = "b-dream", card: str = "UG1") -> Request:
    """A loan of a patron."""
    number = requested(site, bib_id, card)
    for name, more in (("force", {"reason": "x", "position": Position.IN_TRANSIT}), ("receive", {}), ("lend", {})):
        named: Any = more
        finished(site.world.circulation.execute(Act(by=BY, request=number, **named, action=name)))
    return look(site, number)


def look(site: Site, number: str) -> Request:
    found: Request | None = site.world.store.now(lambda unit: unit.requests.find(number))
    assert found is not None
    return found


def due_of(site: Site, number: str) -> date:
    due = look(site, number).due
    assert due is not None
    return due


@pytest.mark.parametrize("role", ["viewer", "clerk"])
@pytest.mark.parametrize("path", ["/staff/closures/close", "/staff/closures/due-dates"])
def test_page_is_restricted_to_supervisors(site: Site, role: str, path: str) -> None:
    browser = site.staff(role)
    assert browser.get("/staff/closures").status_code == 403
    assert browser.post(path, at="/staff/", reason="x", apply="1").status_code == 403


def test_cross_site_form_is_refused(site: Site) -> None:
    assert site.staff("supervisor").send("/staff/closures/close", reason="x", apply="1").status_code == 400


def test_effect_of_a_late_closure_is_previewed_without_a_change(site: Site) -> None:
    loan = on_loan(site)
    day = due_of(site, loan.id)
    answer = site.staff("supervisor").post("/staff/closures/close", at="/staff/closures", day=str(day), reason="typhoon")
    assert answer.status_code == 200
    assert f'data-request="{loan.id}"' in answer.text
    assert due_of(site, loan.id) == day
    assert day not in site.world.store.now(lambda unit: unit.partners.closed_days(site.world.circulation.library.agency))


def test_late_closure_is_applied_as_previewed(site: Site) -> None:
    loan = on_loan(site)
    day = due_of(site, loan.id)
    browser = site.staff("supervisor")
    answer = browser.post("/staff/closures/close", at="/staff/closures", day=str(day), reason="typhoon", apply="1")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/staff/closures?moved=1")
    assert due_of(site, loan.id) > day
    lines = site.world.store.now(lambda unit: unit.journal.history(loan.id))
    assert any(line["who"] == "supervisor" and "typhoon" in line["detail"] for line in lines)
    assert "typhoon" in browser.get("/staff/closures").text


def test_repeated_closure_moves_no_further_dates(site: Site) -> None:
    loan = on_loan(site)
    day = due_of(site, loan.id)
    browser = site.staff("supervisor")
    fields = {"day": str(day), "reason": "typhoon", "apply": "1"}
    browser.post("/staff/closures/close", at="/staff/closures", **fields)
    moved = due_of(site, loan.id)
    assert browser.post("/staff/closures/close", at="/staff/closures", **fields).headers["Location"].endswith("moved=0")
    assert due_of(site, loan.id) == moved


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"day": "2017-13-01", "reason": "typhoon"}, 400),
        ({"day": "2017-03-20", "reason": " "}, 400),
        ({"day": "1990-01-01", "reason": "typhoon", "apply": "1"}, 409),
        ({"day": "2190-01-01", "reason": "typhoon", "apply": "1"}, 409),
        ({"day": "2990-01-01", "reason": "typhoon", "apply": "1"}, 400),
    ],
)
def test_invalid_closure_is_refused_with_a_reason(site: Site, fields: dict[str, str], code: int) -> None:
    answer = site.staff("supervisor").post("/staff/closures/close", at="/staff/closures", **fields)
    assert answer.status_code == code
    assert 'role="alert"' in answer.text


def test_due_dates_are_changed_in_bulk_after_a_preview(site: Site) -> None:
    first, second = on_loan(site), on_loan(site, "b-dune", "UG2")
    day = due_of(site, first.id)
    browser = site.staff("supervisor")
    fields = {"first": str(day - timedelta(days=9)), "last": str(day + timedelta(days=9)), "to": str(day + timedelta(days=16))}
    to = day + timedelta(days=16)
    shown = browser.post("/staff/closures/due-dates", at="/staff/closures", reason="strike", **fields)
    assert shown.text.count("data-request=") == 2
    assert due_of(site, first.id) == day

    answer = browser.post("/staff/closures/due-dates", at="/staff/closures", reason="strike", apply="1", **fields)
    assert answer.headers["Location"] == "/staff/closures?moved=2"
    assert {due_of(site, first.id), due_of(site, second.id)} == {to}


def test_bulk_due_date_change_can_be_limited_to_one_partner(site: Site) -> None:
    first, second = on_loan(site), on_loan(site, "b-dune", "UG2")
    day, to = due_of(site, first.id), due_of(site, first.id) + timedelta(days=10)
    fields = {"first": str(day), "last": str(to), "to": str(to), "partner": first.partner, "reason": "strike", "apply": "1"}
    site.staff("supervisor").post("/staff/closures/due-dates", at="/staff/closures", **fields)
    assert due_of(site, first.id) == to
    if second.partner != first.partner:
        assert due_of(site, second.id) != to


@pytest.mark.parametrize(
    "fields",
    [
        {"first": "x", "last": "2017-03-30", "to": "2017-04-30", "reason": "strike"},
        {"first": "2017-03-30", "last": "2017-03-01", "to": "2017-04-30", "reason": "strike"},
        {"first": "2017-03-01", "last": "2017-03-30", "to": "2017-03-02", "reason": "strike"},
        {"first": "2017-03-01", "last": "2017-03-30", "to": "2990-01-01", "reason": "strike"},
        {"first": "2017-03-01", "last": "2017-03-30", "to": "2017-04-30", "reason": ""},
    ],
)
@pytest.mark.parametrize("apply", [{}, {"apply": "1"}])
def test_invalid_bulk_change_is_refused(site: Site, fields: dict[str, str], apply: dict[str, str]) -> None:
    loan = on_loan(site)
    answer = site.staff("supervisor").post("/staff/closures/due-dates", at="/staff/closures", **fields, **apply)
    assert answer.status_code in {400, 409}
    assert 'role="alert"' in answer.text
    assert due_of(site, loan.id) == loan.due


def test_calendar_that_ends_soon_is_reported(site: Site) -> None:
    day = civil(site.world.now) + timedelta(days=10)
    browser = site.staff("supervisor")
    browser.post("/staff/closures/close", at="/staff/closures", day=str(day), reason="works", apply="1")
    page = browser.get("/staff/closures").text
    assert "works" in page
