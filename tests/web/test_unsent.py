"""/staff/unsent: undelivered messages are settled by a supervisor, with a reason, in bulk."""

from __future__ import annotations

import re
from typing import Any

import pytest
from lxml import html

from hkall_gateway.circulation.borrowing import Requested, RequestTitle
from hkall_gateway.circulation.command import in_context
from hkall_gateway.circulation.partners import unsent
from hkall_gateway.circulation.results import Refused
from hkall_gateway.circulation.staff.actions import Act
from hkall_gateway.db import quarantine
from hkall_gateway.db.database import finished
from hkall_gateway.db.quarantine import QuarantinedDocument
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.reasons import Reason
from hkall_gateway.rules.stored_words import NoticeState, OutboxState, QuarantineState
from hkall_gateway.rules.vocabulary import Actor, Position
from hkall_gateway.web.staff.unsent import EFFECTS
from tests.web.conftest import Site

BY = Actor(who="amy", channel="cli")
DOCUMENT = "<NCIPMessage>•</NCIPMessage>"


def requested(site: Site, bib_id: str = "b-dream", card: str = "UG1") -> str:
    said = finished(site.world.circulation.execute(RequestTitle(by=BY, patron=card, bib_id=bib_id)))
    assert isinstance(said, Requested), said
    return said.request


def given_up(site: Site, bib_id: str = "b-dream") -> int:
    """The number of a message to a lender that is a dead letter."""
    number = requested(site, bib_id)

    def kill(unit: UnitOfWork) -> int:
        (row,) = unit.outbox.rows(request=number)
        unit.outbox.mark_dead(row.id, "refused: Unknown Item")
        return row.id

    return site.world.store.now(kill)


def state(site: Site, row: int) -> str:
    found = site.world.store.now(lambda unit: unit.outbox.row(row))
    return found.state if found else "gone"


def kept(site: Site) -> int:
    def keep(unit: UnitOfWork) -> int:
        quarantine.keep(unit, "CUHK", "digest", "ItemShipped", DOCUMENT, Reason.UNKNOWN_REQUEST.value, site.world.now)
        return quarantine.listed(unit)[0].id

    return site.world.store.now(keep)


def came_back(site: Site) -> int:
    """The number of a bounced pickup letter."""
    from hkall_gateway.circulation.partners import deliveries

    number = requested(site)
    force = Act(by=BY, request=number, reason="x", position=Position.IN_TRANSIT, action="force")
    finished(site.world.circulation.execute(force))
    finished(site.world.circulation.execute(Act(by=BY, request=number, action="receive")))

    def bounce(unit: UnitOfWork) -> int:
        letters = [r for r in unit.outbox.rows(request=number) if r.kind == "mail"]
        letter: Any = letters[-1].payload
        unit.outbox.mark_sent(letters[-1].id, site.world.now)
        unit.notices.set_state(letter.notice, NoticeState.SENT, "", site.world.now)
        return int(letter.notice)

    notice = site.world.store.now(bounce)
    bounced = deliveries.MarkBounced(by=BY, letter=notice, request=number, status="5.1.1")
    assert finished(site.world.circulation.execute(bounced)) == deliveries.LetterBounced(notice)
    return notice


# ---- who


@pytest.mark.parametrize("role", ["viewer", "clerk"])
def test_page_is_restricted_to_supervisors(site: Site, role: str) -> None:
    row = given_up(site)
    browser = site.staff(role)
    assert browser.get("/staff/unsent").status_code == 403
    assert browser.post("/staff/unsent/dead", at="/staff/", row=str(row), how="drop", reason="x").status_code == 403
    assert state(site, row) == "dead"


def test_visitor_is_redirected_to_the_login(site: Site) -> None:
    assert site.browser().get("/staff/unsent").headers["Location"].startswith("/staff/login")


def test_cross_site_form_is_refused(site: Site) -> None:
    row = given_up(site)
    assert site.staff("supervisor").send("/staff/unsent/dead", row=str(row), how="retry").status_code == 400
    assert state(site, row) == "dead"


# ---- messages


def test_dead_letter_is_shown_with_its_error_and_effects(site: Site) -> None:
    given_up(site)
    text = site.staff("supervisor").get("/staff/unsent").text
    assert "Unknown Item" in text
    assert "the next lender is asked" in text


def test_message_is_shown_as_it_would_be_sent_without_its_secret(site: Site) -> None:
    given_up(site)
    page = html.fromstring(site.staff("supervisor").get("/staff/unsent").text)
    (document,) = page.xpath("//td//pre/text()")
    assert "RequestItem>" in document
    assert "FromAgencyAuthentication>•</" in document
    assert "Chan" not in document


@pytest.mark.parametrize("kind", ["dead", "letters"])
def test_row_links_to_its_request(site: Site, kind: str) -> None:
    given_up(site) if kind == "dead" else came_back(site)
    page = html.fromstring(site.staff("supervisor").get(f"/staff/unsent?kind={kind}").text)
    (address,) = page.xpath("//tr[@data-row]//a/@href")
    assert address.startswith("/staff/requests/R")


def test_retry_resends_the_message_without_a_reason(site: Site) -> None:
    row = given_up(site)
    answer = site.staff("supervisor").post("/staff/unsent/dead", at="/staff/unsent", row=str(row), how="retry")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/staff/unsent?kind=dead&done=1")
    assert state(site, row) == "waiting"


@pytest.mark.parametrize(("how", "after"), [("done", "done"), ("drop", "dropped")])
def test_done_and_drop_require_a_reason_and_record_the_user(site: Site, how: str, after: str) -> None:
    row = given_up(site)
    browser = site.staff("supervisor")
    without = browser.post("/staff/unsent/dead", at="/staff/unsent", row=str(row), how=how, reason=" ")
    assert (without.status_code, state(site, row)) == (400, "dead")
    assert "A reason is needed." in without.text
    assert "checked" in without.text

    assert (
        browser.post("/staff/unsent/dead", at="/staff/unsent", row=str(row), how=how, reason="told by phone").status_code == 303
    )
    assert state(site, row) == after
    found = site.world.store.now(lambda unit: unit.outbox.row(row))
    assert found is not None
    lines = site.world.store.now(lambda unit: unit.journal.history(found.request))
    assert any(line["who"] == "supervisor" and line["channel"] == "web" for line in lines)


def test_message_settled_meanwhile_is_reported_and_other_messages_are_settled(site: Site) -> None:
    first, second = given_up(site), given_up(site, "b-dune")
    browser = site.staff("supervisor")
    page = browser.get("/staff/unsent").text
    site.world.store.now(
        in_context(unsent.retry, site.world.circulation.library, site.world.now, unsent.Settle(by=BY, number=first))
    )
    token = page.split('name="csrf_token" value="')[1].split('"')[0]
    fields = {"csrf_token": token, "row": [str(first), str(second)], "how": "drop", "reason": "gone"}
    site.world.store.now(lambda unit: unit.outbox.close(first, OutboxState.DONE, "x", site.world.now))
    answer = browser.client.post("/staff/unsent/dead", data=fields)
    assert answer.status_code == 409
    assert "settled already" in answer.text
    assert "1 row is settled." in answer.text
    assert state(site, second) == "dropped"


@pytest.mark.parametrize("row", ["", "x", "-1", "99999", "١"])
def test_unknown_row_is_reported(site: Site, row: str) -> None:
    given_up(site)
    answer = site.staff("supervisor").post("/staff/unsent/dead", at="/staff/unsent", row=row, how="retry")
    assert answer.status_code in {400, 409}


def test_unknown_command_or_kind_is_refused(site: Site) -> None:
    row = given_up(site)
    browser = site.staff("supervisor")
    assert browser.post("/staff/unsent/dead", at="/staff/unsent", row=str(row), how="explode").status_code == 400
    assert browser.post("/staff/unsent/waiting", at="/staff/unsent", row=str(row), how="drop").status_code == 400
    assert browser.get("/staff/unsent?kind=nothing").status_code == 404


def test_page_contains_no_patron_name_or_address(site: Site) -> None:
    came_back(site)
    browser = site.staff("supervisor")
    for kind in ("dead", "waiting", "letters", "quarantine"):
        text = browser.get(f"/staff/unsent?kind={kind}").text
        assert "@" not in text
        assert re.search(r"\bUG1\b", text) is None  # a random token may contain these letters


# ---- letters


def test_bounced_letter_can_be_sent_again(site: Site) -> None:
    number = came_back(site)
    browser = site.staff("supervisor")
    assert "5.1.1" in browser.get("/staff/unsent?kind=letters").text
    at = "/staff/unsent?kind=letters"
    assert browser.post("/staff/unsent/letters", at=at, row=str(number), how="retry").status_code == 303
    found = site.world.store.now(lambda unit: unit.notices.find(number))
    assert found is not None
    assert found.state == "queued"
    rows = site.world.store.now(lambda unit: unit.outbox.rows(request=found.request))
    assert [row.state for row in rows if row.kind == "mail"] == ["waiting"]


def test_letter_delivered_by_hand_starts_the_pickup_period_today(site: Site) -> None:
    number = came_back(site)
    site.wait(days=2)
    at = "/staff/unsent?kind=letters"
    answer = site.staff("supervisor").post("/staff/unsent/letters", at=at, row=str(number), how="done", reason="by phone")
    assert answer.status_code == 303
    found = site.world.store.now(lambda unit: unit.notices.find(number))
    assert found is not None
    assert found.state == "sent"
    request = site.world.store.now(lambda unit: unit.requests.find(found.request))
    assert request is not None
    assert request.notified_on == site.world.now.date()


def test_letter_is_settled_once(site: Site) -> None:
    number = came_back(site)
    browser, at = site.staff("supervisor"), "/staff/unsent?kind=letters"
    assert browser.post("/staff/unsent/letters", at=at, row=str(number), how="drop", reason="moved away").status_code == 303
    page = browser.get("/staff/unsent?kind=dead").text
    assert "No message was given up." in page
    assert browser.post("/staff/unsent/letters", at="/staff/", row=str(number), how="drop", reason="again").status_code == 409


# ---- the quarantine


def test_quarantined_document_is_processed_again_and_settled(site: Site) -> None:
    heard: list[QuarantinedDocument] = []

    async def replay(document: QuarantinedDocument) -> str | Refused:
        heard.append(document)
        return ""

    site.replay = replay
    number = kept(site)
    at = "/staff/unsent?kind=quarantine"
    answer = site.staff("supervisor").post(
        "/staff/unsent/quarantine", at=at, row=str(number), how="replay", reason="loaded now"
    )
    assert answer.status_code == 303
    assert [one.document for one in heard] == [DOCUMENT]
    found = site.world.store.now(quarantine.one, number)
    assert found is not None
    assert (found.state, found.settled_by, found.reason) == ("replayed", "supervisor", "loaded now")


def test_document_that_is_settled_already_is_not_processed_again(site: Site) -> None:
    replayed: list[int] = []

    async def replay(document: QuarantinedDocument) -> str | Refused:
        replayed.append(document.id)
        return ""

    site.replay = replay
    number = kept(site)
    again = {"at": "/staff/unsent?kind=quarantine", "row": str(number), "how": "replay", "reason": "loaded now"}
    browser = site.staff("supervisor")
    assert browser.post("/staff/unsent/quarantine", **again).status_code == 303

    answer = browser.post("/staff/unsent/quarantine", **again)

    assert answer.status_code == 409
    assert "It is settled already" in answer.text
    assert replayed == [number]


@pytest.mark.parametrize("said", ["Unknown Item: none", Refused(why=Reason.UNKNOWN_ITEM)])
def test_quarantined_document_that_still_matches_no_request_stays(site: Site, said: str | Refused) -> None:
    async def replay(_document: QuarantinedDocument) -> str | Refused:
        return said

    site.replay = replay
    number = kept(site)
    at = "/staff/unsent?kind=quarantine"
    answer = site.staff("supervisor").post("/staff/unsent/quarantine", at=at, row=str(number), how="replay", reason="try")
    assert answer.status_code == 409
    found = site.world.store.now(quarantine.one, number)
    assert found is not None
    assert found.state == QuarantineState.KEPT


def test_document_is_dropped(site: Site) -> None:
    number = kept(site)
    at = "/staff/unsent?kind=quarantine"
    answer = site.staff("supervisor").post("/staff/unsent/quarantine", at=at, row=str(number), how="drop", reason="not ours")
    assert answer.status_code == 303
    assert "Every message of the partners" in site.staff("supervisor").get(at).text


def test_effect_texts_are_in_the_translation_catalogue() -> None:
    pairs = [*unsent._WORDS.values(), unsent._LOCAL, unsent._ELSE]
    assert {words for pair in pairs for words in pair} == set(EFFECTS)
