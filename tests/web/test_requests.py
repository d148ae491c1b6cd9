"""The request page: all data of one request, and the commands allowed by position and role."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from lxml import html

from hkall_gateway.circulation.staff.permitted import ACTIONS, DenialReason
from hkall_gateway.db import fines, quarantine
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.lifecycle import Event, Notification
from hkall_gateway.rules.messages.outbox_messages import LocalSend
from hkall_gateway.rules.vocabulary import Actor, Position, Request, Side
from hkall_gateway.web.labels import WORDS
from hkall_gateway.web.staff import words
from tests.web.conftest import TOKEN, Browser, Site

P = Position
WORLD = Actor(who="world", channel="world")
FIND = "/staff/requests"


def given(site: Site, position: Position, **facts: Any) -> Request:
    """A request of UG1 for CUHK's Dune at a position."""
    made: dict[str, Any] = {"patron": "UG1", "partner": "CUHK", "item_agency": "CUHK", "item_barcode": "C1"}
    made |= {"pickup_location": "HKU-MAIN-LENDING", "wire_agency": "HKU", "wire_id": "w-1"}
    request = replace(
        Request(id="", side=Side.BORROWING, position=position, title="Dune", bib_id="b-dune"), **{**made, **facts}
    )
    opened: Request = site.world.store.now(lambda unit: unit.open(request, site.world.now, WORLD))
    return opened


def lent(site: Site, **facts: Any) -> Request:
    today = site.world.now.date()
    usual = {"first_checkout": today, "loan_days": 15, "due": today + timedelta(days=15), "used": True}
    return given(site, P.ON_LOAN, **{**usual, **facts})


def page(browser: Browser, number: str) -> Any:
    answer = browser.get(f"{FIND}/{number}")
    assert answer.status_code == 200
    return html.fromstring(answer.text)


def act(browser: Browser, number: str, name: str, at: Any = None, **fields: str) -> Any:
    """Submit a command on the request's page, in its current or an earlier version (`at`)."""
    shown = page(browser, number) if at is None else at
    form = shown.xpath("//form[.//button[@formaction]]")[0]
    kept = {i.get("name"): i.get("value") or "" for i in form.xpath(".//input[@name]")}
    return browser.send(f"{FIND}/{number}/{name}", **{**kept, **fields})


def buttons(shown: Any) -> list[str]:
    return [b.text_content().strip() for b in shown.xpath("//button[@formaction]")]


# ---- find


def test_request_number_redirects_to_its_page(site: Site) -> None:
    request = given(site, P.IN_TRANSIT)
    answer = site.staff("viewer").post(FIND, q=f" {request.id} ")
    assert (answer.status_code, answer.location) == (303, f"{FIND}/{request.id}")


@pytest.mark.parametrize(("typed", "by"), [("C1", "Barcode"), ("UG1", "Card"), ("dune", "Title")])
def test_request_is_found_by_any_of_its_identifiers(site: Site, typed: str, by: str) -> None:
    request, clerk = given(site, P.IN_TRANSIT), site.staff("clerk")
    only = clerk.post(FIND, q=typed)
    assert (only.status_code, only.location) == (303, f"{FIND}/{request.id}")
    other = given(site, P.IN_TRANSIT, item_agency="HKUST", wire_id="w-other")
    rows = {
        row.get("data-request"): row for row in html.fromstring(clerk.post(FIND, q=typed).text).xpath("//tr[@data-request]")
    }
    assert rows.keys() == {request.id, other.id}
    assert all(by in row.text_content() for row in rows.values())
    assert rows[request.id].xpath(".//a/@href") == [f"{FIND}/{request.id}"]


def test_search_words_are_not_in_the_url(site: Site) -> None:
    shown = html.fromstring(site.staff().post(FIND, q="UG1").text)
    assert [a for a in shown.xpath("//@href | //@action") if "UG1" in a] == []


def test_empty_search_result_is_reported(site: Site) -> None:
    assert "0 requests found" in site.staff().post(FIND, q="nobody").text


def test_unknown_request_number_is_not_found(site: Site) -> None:
    assert site.staff().get(f"{FIND}/R-NONE").status_code == 404


# ---- everything about one


def test_journal_is_shown_as_a_timeline_with_linked_rules(site: Site) -> None:
    clerk = site.staff()
    request = given(site, P.IN_TRANSIT)
    site.world.sip2("counter-1", "09N20170301    090000                  APHKU|AOHKU|ABC1|AC|")
    shown = page(clerk, request.id)
    first, last = shown.xpath("//section[h2='What happened']//li")
    assert ("Arrived" in first.text_content(), "counter-1 (terminal, Check-in)" in first.text_content()) == (True, True)
    assert first.xpath(".//a/@href") == ["/help#R12"]
    assert "On the hold shelf" in first.text_content()
    assert "Request placed" in last.text_content()


def test_timeline_shows_a_refusal_with_reason_and_rule(site: Site) -> None:
    request = given(site, P.RECEIVED)
    site.world.sip2("counter-1", "11NN20170301    090000                  AOHKU|AAUG2|ABC1|AC|")
    refused = page(site.staff(), request.id).xpath("//section[h2='What happened']//li[@class='no']")[0]
    assert "Another patron requested this book." in refused.text_content()
    assert refused.xpath(".//a/@href") == ["/help#R13"]


def _found(unit: UnitOfWork, number: str) -> Request:
    request = unit.requests.find(number)
    assert request is not None
    return request


def test_documents_candidates_letters_and_charges_are_shown(site: Site) -> None:
    site.world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    (request,) = site.world.store.now(lambda unit: unit.requests.open_of_patron("UG1"))
    site.world.pump()
    site.world.store.now(lambda unit: unit.force(_found(unit, request.id), P.IN_TRANSIT, site.world.now, WORLD, ""))
    site.world.store.now(
        lambda unit: fines.charge(unit, _found(unit, request.id), "damage", 5_000, "R45", site.world.now, WORLD)
    )
    shown = page(site.staff(), request.id)

    def part(heading: str) -> str:
        return " ".join(shown.xpath(f"string(//section[h2='{heading}'])").split())

    assert "Request to the lender Sent" in part("Documents")
    document = shown.xpath("string(//section[h2='Documents']//pre)")
    assert "FromAgencyAuthentication>•</" in document
    assert "Dune" in document
    assert "Request Answered from HKU-DISCOVERY" in part("Documents")
    assert "CUHK C1" in part("Libraries that could lend")
    assert "not asked" in part("Libraries that could lend")
    assert "Damage R45" in part("Money")
    assert "HK$50.00" in part("Money")


def test_letter_is_listed_with_its_state(site: Site) -> None:
    request = given(site, P.IN_TRANSIT)
    site.world.sip2("counter-1", "09N20170301    090000                  APHKU|AOHKU|ABC1|AC|")
    letters = page(site.staff(), request.id).xpath("string(//section[h2='Letters'])")
    assert "Letter: ready to collect" in letters
    assert "Waiting" in letters


def test_quarantined_document_is_shown_escaped(site: Site) -> None:
    request = given(site, P.IN_TRANSIT)
    text = f"<RequestIdentifierValue>{request.wire_id}</RequestIdentifierValue>"
    site.world.store.now(quarantine.keep, "CUHK", "digest", "ItemShipped", text, "unknown_request", site.world.now)
    shown = page(site.staff(), request.id)
    assert shown.xpath("string(//pre)") == text
    assert "Fits no request" in shown.xpath("string(//section[h2='Documents'])")


def test_page_contains_no_secret(site: Site) -> None:
    site.world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    (request,) = site.world.store.now(lambda unit: unit.requests.open_of_patron("UG1"))
    text = site.staff("supervisor").get(f"{FIND}/{request.id}").text
    assert "secret" not in text.lower()
    assert "@" not in html.fromstring(text).xpath("string(//main)")


def test_external_markup_is_escaped(site: Site) -> None:
    request = given(site, P.IN_TRANSIT, title="<script>alert(1)</script>", item_barcode="<b>C1</b>")
    shown = page(site.staff(), request.id)
    assert shown.xpath("//main//script | //main//b") == []


# ---- the commands


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        ("viewer", []),
        ("clerk", ["return", "renew", "lost", "damaged", "claim"]),
        ("supervisor", ["return", "renew", "lost", "damaged", "claim", "overseas", "extend", "force"]),
    ],
)
def test_only_commands_allowed_by_position_and_role_are_offered(site: Site, role: str, allowed: list[str]) -> None:
    request = lent(site)
    shown = page(site.staff(role), request.id)
    there = {text.lower() for text in buttons(shown)}
    assert there == set(allowed)
    rare = shown.xpath("//details[summary='More']//button/text()")
    assert rare == (["Overseas", "Extend", "Force"] if role == "supervisor" else [])
    assert len(shown.xpath("//*[@name='reason']")) == (1 if allowed else 0)


def test_unavailable_command_shows_its_reason(site: Site) -> None:
    request = lent(site)
    (why,) = page(site.staff(), request.id).xpath("//details[summary='What cannot be done now, and why']//dl")
    words = dict(zip((dt.text for dt in why.xpath("dt")), (dd.text.lower() for dd in why.xpath("dd")), strict=True))
    assert "cancel" in words["not where it stands now"].split(", ")
    assert words["your role may not"].split(", ") == ["settle", "overseas", "extend", "pin", "skip", "insert", "force"]
    assert words["there is no flag"] == "seen"


def test_command_runs_as_the_user_with_the_reason(site: Site) -> None:
    request, clerk = given(site, P.RECEIVED), site.staff()
    answer = act(clerk, request.id, "return_unused", reason="not wanted any more")
    assert (answer.status_code, answer.location) == (303, f"{FIND}/{request.id}?done=return_unused")
    line = site.world.store.now(lambda unit: unit.journal.history(request.id))[-2]
    assert (line["event"], line["who"], line["channel"], line["message"]) == ("RETURN_UNUSED", "clerk", "web", "return_unused")
    assert "not wanted any more" in line["detail"]
    assert "Done: Return-unused" in clerk.get(answer.location).text


def test_command_accepts_the_options_of_the_command_line(site: Site) -> None:
    request, clerk = lent(site), site.staff()
    assert act(clerk, request.id, "lost", reason="on a train", dollars="350.50").status_code == 303
    assert [c.cents for c in site.world.store.now(fines.charges_of, request.id) if c.kind == "replacement"] == [35_050]
    second = lent(site, item_barcode="C2", wire_id="w-2")
    assert act(clerk, second.id, "lost", reason="on a train", cents="200").status_code == 303
    assert [c.cents for c in site.world.store.now(fines.charges_of, second.id) if c.kind == "replacement"] == [200]


@pytest.mark.parametrize("price", ["x", "1.234", "-5", "1e3", "١٢"])
def test_invalid_amount_is_reported_and_changes_nothing(site: Site, price: str) -> None:
    request = lent(site)
    answer = act(site.staff(), request.id, "lost", reason="on a train", dollars=price)
    assert answer.status_code == 422
    assert "This is no amount." in answer.text
    assert site.world.request(request.id).lost_on is None


def test_invalid_date_is_reported(site: Site) -> None:
    request = lent(site)
    answer = act(site.staff(), request.id, "return", on="yesterday", reason="in the drop")
    assert answer.status_code == 422
    assert "This is no date." in answer.text


def test_refusal_shows_its_reason_and_keeps_the_input(site: Site) -> None:
    request = given(site, P.REQUESTED)
    answer = act(site.staff("supervisor"), request.id, "extend", on="2016-01-01")
    shown = html.fromstring(answer.text)
    assert answer.status_code == 422
    assert shown.xpath("string(//*[@role='alert'])").strip() == "A reason is needed."
    assert shown.xpath("//*[@name='on']/@value") == ["2016-01-01"]


def test_refusal_links_to_its_rule(site: Site) -> None:
    request, clerk = given(site, P.REQUESTED), site.staff()
    before = page(clerk, request.id)
    site.world.store.now(
        lambda unit: unit.note(_found(unit, request.id), "LOOKED", {}, site.world.now, Actor(who="x", channel="courier"))
    )
    site.world.store.now(lambda unit: unit.force(_found(unit, request.id), P.IN_TRANSIT, site.world.now, WORLD, ""))
    newest = site.world.store.now(lambda unit: unit.journal.history(request.id))[-1]["id"]
    answer = act(clerk, request.id, "cancel", at=before, seen=str(newest))
    assert html.fromstring(answer.text).xpath("//*[@role='alert']//a/@href") == ["/help#R34"]


def test_second_clerk_sees_the_change_of_the_first_clerk(site: Site) -> None:
    request, first, second = given(site, P.RECEIVED), site.staff(), site.staff("supervisor")
    seen = page(second, request.id)
    assert act(first, request.id, "lend").status_code == 303
    answer = act(second, request.id, "return_unused", at=seen, reason="not collected")
    shown = html.fromstring(answer.text)
    assert answer.status_code == 409
    changes = " ".join(shown.xpath("string(//*[@data-changed])").split())
    assert "Nothing was done, since the request has changed meanwhile: Lent to the patron · clerk" in changes
    assert site.world.request(request.id).position is P.ON_LOAN
    assert shown.xpath("//*[@name='reason']/@value") == ["not collected"]
    assert "Return-unused" not in buttons(shown)
    assert act(second, request.id, "return", at=shown).status_code == 303


def test_resubmitted_form_takes_effect_once(site: Site) -> None:
    request, clerk = given(site, P.CLOSED), site.staff()
    seen = page(clerk, request.id)
    answer = act(clerk, request.id, "reopen", at=seen, reason="found again")
    assert answer.status_code == 303
    assert request.id not in answer.location  # the page of the new request
    again = act(clerk, request.id, "reopen", at=seen, reason="found again")
    assert (again.status_code, again.location) == (303, answer.location)
    assert len(site.world.store.now(lambda unit: unit.requests.open_of_patron("UG1", request.bib_id))) == 1


@pytest.mark.parametrize("row", ACTIONS, ids=lambda row: str(row.name))
@pytest.mark.parametrize("role", ["viewer", "clerk", "supervisor"])
def test_each_command_is_refused_to_a_lower_role(site: Site, role: str, row: Any) -> None:
    request, browser = lent(site), site.staff(role)
    token = TOKEN.search(browser.get(f"{FIND}").text)
    assert token
    before = site.world.request(request.id)
    answer = browser.send(f"{FIND}/{request.id}/{row.name}", csrf_token=token[1], seen="0")
    low = {"viewer": 1, "clerk": 2, "supervisor": 3}[role] < row.role
    assert (answer.status_code == 403) is low
    assert site.world.request(request.id) == before  # also where the role would do, since nothing was seen


def test_command_without_a_csrf_token_does_nothing(site: Site) -> None:
    request = given(site, P.RECEIVED)
    assert site.staff().send(f"{FIND}/{request.id}/lend", seen="999").status_code == 400
    assert site.world.request(request.id).position is P.RECEIVED


@pytest.mark.parametrize("seen", ["", "x", "-1", "9" * 40, "²"])
def test_form_without_a_request_version_reports_every_change(site: Site, seen: str) -> None:
    request, clerk = given(site, P.RECEIVED), site.staff()
    assert act(clerk, request.id, "lend", seen=seen).status_code == 409


def test_unknown_command_is_not_found(site: Site) -> None:
    request, clerk = given(site, P.RECEIVED), site.staff()
    assert act(clerk, request.id, "burn").status_code == 404


# ---- the tables


def test_every_command_has_a_button_and_a_description() -> None:
    names = {row.name for row in ACTIONS}
    assert set(WORDS["commands"]) == set(WORDS["actions"]) == names


def test_every_event_message_and_obstacle_has_a_text() -> None:
    assert {event.name for event in Event} <= set(WORDS["events"])
    assert set(WORDS["sends"]) == set(Notification) | set(LocalSend)
    assert set(WORDS["hindrances"]) == set(DenialReason)


def test_dates_and_amounts_in_journal_data_are_formatted(site: Site) -> None:
    with site.app.test_request_context("/help"):
        found = words.shown_facts({"due": "2017-03-16", "cents": "1250", "position": "NEW", "x": "2017-03-01T02:00:00+00:00"})
    assert found == [
        ("Due", "16 March 2017 (Thursday)"),
        ("Amount", "HK$12.50"),
        ("x", "1 March 2017 (Wednesday), 10:00"),
    ]


def test_anonymised_request_still_has_a_page(site: Site) -> None:
    request = given(site, P.CLOSED, patron="", anonymised=True, returned_on=date(2017, 2, 1))
    assert "1 February 2017 (Wednesday)" in page(site.staff(), request.id).text_content()
