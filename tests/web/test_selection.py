"""Selected rows: commands that all of them allow, run on each, journalled with user and reason."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import html
from sqlalchemy import select

from hkall_gateway.circulation.staff import permitted
from hkall_gateway.db.tables import JOURNAL
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Position
from hkall_gateway.web.labels import COMMANDS
from hkall_gateway.web.staff.selection import ELSEWHERE, bulk_actions
from tests.web.conftest import TOKEN, Browser, Site
from tests.web.given import given, position_of

P = Position


def send(browser: Browser, path: str, requests: list[str], **fields: str) -> Any:
    """Submit the form of a list with these rows selected."""
    found = TOKEN.search(browser.get("/staff/").text)
    assert found
    data = {"csrf_token": found[1], "request": requests, **fields}
    return browser.client.post(path, data=data, environ_base={"REMOTE_ADDR": browser.address})


def buttons(text: str) -> list[str]:
    return [str(value) for value in html.fromstring(text).xpath("//button[@name='action']/@value")]


def outcomes(text: str) -> list[tuple[str, str]]:
    rows = html.fromstring(text).xpath("//li[@data-outcome]")
    return [(row.get("data-request"), row.get("data-outcome")) for row in rows]


def test_every_command_has_a_text() -> None:
    names = {row.name for row in permitted.ACTIONS}
    assert COMMANDS.keys() == names
    assert names > ELSEWHERE
    assert {name.replace("_", "-") for name in names} == {text.lower() for text in COMMANDS.values()}


def test_every_refusal_has_a_text() -> None:
    assert all(all(texts) for reason in Reason for texts in (reason.staff, reason.patron))


def test_commands_allowed_for_all_rows_are_offered_and_other_commands_counted(site: Site) -> None:
    given(site, P.RECEIVED, "R-1")
    given(site, P.RECEIVED, "R-2")
    given(site, P.ON_LOAN, "R-3")
    clerk = site.staff()
    both = send(clerk, "/staff/lists/shelf/selected", ["R-1", "R-2"]).text
    mixed = send(clerk, "/staff/lists/shelf/selected", ["R-1", "R-2", "R-3"]).text
    assert {"lend", "return_unused"} <= set(buttons(both))
    assert html.fromstring(both).xpath("//button[@formaction]/@formaction | //button[@formaction]/@value") == [
        "/staff/slips",
        "shelf",
    ]
    assert html.fromstring(mixed).xpath("//button[@formaction]") == []
    assert "return_unused" not in buttons(mixed)
    assert "Return-unused: 2 of 3" in " ".join(html.fromstring(mixed).xpath("string(//main)").split())


def test_empty_selection_is_reported(site: Site) -> None:
    clerk = site.staff()
    assert "tick the rows first" in send(clerk, "/staff/lists/pull/selected", []).text
    assert "tick the rows first" in send(clerk, "/staff/lists/pull/selected", ["R-NONE"]).text


def test_command_runs_on_each_row_with_user_and_reason(site: Site) -> None:
    for number in ("R-1", "R-2"):
        given(site, P.RECEIVED, number)
    clerk = site.staff()
    answer = send(clerk, "/staff/lists/shelf/act", ["R-1", "R-2"], action="return_unused", reason="shelf cleared")
    assert outcomes(answer.text) == [("R-1", "ok"), ("R-2", "ok")]
    assert [position_of(site, number) for number in ("R-1", "R-2")] == ["RETURN_TRANSIT", "RETURN_TRANSIT"]
    lines = site.world.store.now(
        lambda unit: unit.execute(select(JOURNAL).where(JOURNAL.c.event == "RETURN_UNUSED")).mappings().all()
    )
    assert {(line["who"], line["channel"], line["message"]) for line in lines} == {("clerk", "web", "return_unused")}
    assert all("shelf cleared" in line["detail"] for line in lines)


def test_second_clerk_sees_the_change_of_the_first_clerk(site: Site) -> None:
    given(site, P.RECEIVED, "R-1")
    given(site, P.RECEIVED, "R-2")
    first, second = site.staff(), site.staff()
    send(second, "/staff/lists/shelf/selected", ["R-1", "R-2"])
    send(first, "/staff/lists/shelf/act", ["R-1"], action="return_unused")
    again = send(second, "/staff/lists/shelf/act", ["R-1", "R-2"], action="return_unused")
    lent = send(second, "/staff/lists/shelf/act", ["R-1"], action="lend")
    assert outcomes(again.text) == [("R-1", "look"), ("R-2", "ok")]
    assert "It was done before; nothing has changed." in again.text
    assert outcomes(lent.text) == [("R-1", "no")]
    assert "Not possible where it stands now: On the way home." in lent.text


def test_refusal_names_its_rule(site: Site) -> None:
    given(site, P.IN_TRANSIT, "R-1")
    answer = send(site.staff(), "/staff/lists/expected/act", ["R-1"], action="cancel")
    assert outcomes(answer.text) == [("R-1", "no")]
    assert '<a class="rule" href="/help#R34">R34</a>' in answer.text


def test_command_that_needs_a_reason_is_refused_without_a_reason(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    clerk = site.staff()
    page = send(clerk, "/staff/lists/pull/selected", ["R-1"]).text
    declines = ["decline:not_on_shelf", "decline:checked_out_locally", "decline:not_suitable", "decline"]
    assert [button for button in buttons(page) if button.startswith("decline")] == declines
    assert "A reason is needed." in send(clerk, "/staff/lists/pull/act", ["R-1"], action="decline").text
    assert position_of(site, "R-1") == "PAGED"
    send(clerk, "/staff/lists/pull/act", ["R-1"], action="decline", reason="not_on_shelf")
    assert position_of(site, "R-1") == "DECLINED"


def test_date_is_passed_to_the_command_that_needs_it(site: Site) -> None:
    given(site, P.ON_LOAN, "R-1")
    head = site.staff("supervisor")
    told = {"action": "extend", "reason": "typhoon"}
    wrong = send(head, "/staff/lists/on-loan/act", ["R-1"], on="next week", **told)
    assert wrong.status_code == 400
    assert "This is not a date" in wrong.text
    answer = send(head, "/staff/lists/on-loan/act", ["R-1"], on="2017-04-03", **told)
    assert "until 3 April 2017 (Monday)" in answer.text
    assert str(site.world.request("R-1").due) == "2017-04-03"


@pytest.mark.parametrize(
    ("role", "action", "code"),
    [
        ("viewer", "ship", 403),
        ("clerk", "extend", 403),
        ("clerk", "force", 403),
        ("supervisor", "force", 403),
        ("clerk", "nonsense", 403),
        ("clerk", "", 403),
        ("clerk", "ship", 200),
    ],
)
def test_command_outside_the_role_does_nothing(site: Site, role: str, action: str, code: int) -> None:
    given(site, P.PAGED, "R-1")
    answer = send(site.staff(role), "/staff/lists/pull/act", ["R-1"], action=action, reason="x", on="2017-04-03")
    assert answer.status_code == code
    assert position_of(site, "R-1") == ("SHIPPED" if code == 200 else "PAGED")


@pytest.mark.parametrize("path", ["/staff/lists/pull/selected", "/staff/lists/pull/act", "/staff/slips"])
def test_no_row_changes_without_the_csrf_token_or_the_role(site: Site, path: str) -> None:
    given(site, P.PAGED, "R-1")
    assert site.staff().send(path, request="R-1", action="ship").status_code == 400
    assert send(site.staff("viewer"), path, ["R-1"], action="ship").status_code == 403
    assert position_of(site, "R-1") == "PAGED"


def test_command_for_an_unknown_list_does_nothing(site: Site) -> None:
    given(site, P.PAGED, "R-1")
    assert send(site.staff(), "/staff/lists/none/act", ["R-1"], action="ship").status_code == 404
    assert position_of(site, "R-1") == "PAGED"


def test_bulk_commands_match_the_permitted_commands(site: Site) -> None:
    shelf = given(site, P.RECEIVED, "R-1")
    offered = {one.action.name for one in bulk_actions((shelf, shelf), StaffRole.SYSADMIN)}
    assert offered == {a.name for a in permitted.actions(shelf, StaffRole.SYSADMIN) if a.allowed} - ELSEWHERE
    assert bulk_actions((), StaffRole.SYSADMIN) == ()
