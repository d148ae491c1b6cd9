"""Names and cards require the role clerk: every page, list, file and API call that a viewer may request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import pytest
from sqlalchemy import insert, update
from werkzeug.test import TestResponse

from hkall_gateway.db import api_tokens, quarantine
from hkall_gateway.db.api_tokens import ApiToken, hash_of
from hkall_gateway.db.loads.former_cards import replace_card
from hkall_gateway.db.queries.work_lists import ListName
from hkall_gateway.db.tables import ATTEMPTS, NOTICES, OUTBOX, SET_ASIDE
from hkall_gateway.db.unit_of_work import UnitOfWork
from hkall_gateway.rules.stored_words import StaffRole
from hkall_gateway.rules.vocabulary import Actor, Position
from hkall_gateway.web.api.access import ROLES
from hkall_gateway.web.staff.explain import QUESTIONS
from hkall_gateway.web.staff.statistics import TABLES
from tests.web.conftest import TOKEN, Browser, Site
from tests.web.given import WORLD, given
from tests.web.test_roles import ROUTES

NOTE: Final = "Mrs Chan phoned"
"""Text that staff, a partner or a mail server may write into a free-text field."""
PERSONAL: Final = ("UG1", "OLD1", "Chan Siu Ming", "陳小明", NOTE)
AT: Final = "2017-03-10T09:00"


@pytest.fixture
def telling(site: Site) -> Site:
    """A site with patron data everywhere: cards, former cards, documents, letters, errors and reasons."""
    site.world.tell("HKU-DISCOVERY", "RequestItem user=UG1 bib=b-dune request=d-1")
    site.world.pump()
    for position in Position:
        given(site, position, f"R-{position}", reason=NOTE)
    lost = given(site, Position.ON_LOAN, "R-LATE", item_barcode="C9", due=site.world.now.date(), reason=NOTE)
    site.world.store.now(tell_everywhere, site.world.now, lost.wire_id)
    site.world.store.now(replace_card, "OLD1", "UG1", site.world.now, Actor(who="mei", channel="cli"))
    return site


def tell_everywhere(unit: UnitOfWork, now: Any, wire_id: str) -> None:
    document = f"<UserIdentifierValue>UG1</UserIdentifierValue><Surname>Chan Siu Ming</Surname>{wire_id}"
    quarantine.keep(unit, "CUHK", "digest", "ItemShipped", document, "unknown_request", now)
    unit.execute(update(OUTBOX).values(last_error=NOTE))
    unit.execute(update(ATTEMPTS).values(detail=NOTE, problem=NOTE))
    unit.execute(update(NOTICES).values(error=NOTE))
    unit.execute(insert(SET_ASIDE).values(round="fall_due", request="R-LATE", error=NOTE, at=now))
    late = unit.requests.find("R-LATE")
    assert late is not None
    unit.note(late, "REFUSED_THERE", {"patron": "UG1", "reason": NOTE, "detail": "Chan Siu Ming 陳小明"}, now, WORLD)


def numbers(site: Site) -> list[str]:
    found = {row.id for row in site.world.store.now(lambda unit: unit.requests.open_of_patron("UG1"))}
    return sorted(found | {f"R-{position}" for position in Position})


def pages(site: Site, browser: Browser) -> Iterator[tuple[str, TestResponse]]:
    """Request each page that a viewer may see, with every possible id in its URL."""
    named: Mapping[str, list[str]] = {
        "/staff/lists/<name>": list(ListName),
        "/staff/lists/<name>.csv": list(ListName),
        "/staff/requests/<number>": numbers(site),
        "/staff/statistics/<name>.csv": list(TABLES),
        "/staff/statistics/<name>.svg": list(TABLES),
    }
    for (verb, rule), role in ROUTES.items():
        if role is not StaffRole.VIEWER:
            continue
        for value in named[rule] if "<" in rule else [""]:
            path = rule.replace("<name>", value).replace("<number>", value)
            if verb == "GET":
                yield rule, browser.get(path)
            else:
                yield from ((rule, answer) for answer in sent(browser, path))


def sent(browser: Browser, path: str) -> Iterator[TestResponse]:
    """Submit the forms of a page. User input is echoed in the response, so no name is typed."""
    token = TOKEN.search(browser.get(path).text)
    assert token
    if path == "/staff/keys":
        yield browser.send(path, csrf_token=token[1])
    elif path == "/staff/requests":
        for words in ("Title", "C9", "Dune"):
            yield browser.send(path, csrf_token=token[1], q=words)
    else:
        assert path == "/staff/explain"
        for question in QUESTIONS:
            yield browser.send(path, csrf_token=token[1], question=question.name, item="C9", bib="b-dune", at=AT)


def calls(site: Site, role: str) -> Iterator[tuple[str, TestResponse]]:
    """Call each operation of the API that a viewer may call."""
    site.world.store.now(
        api_tokens.make,
        ApiToken(name=role, token_hash=hash_of(f"hkall_{role}"), role=role, made_by="amy", made_at=site.world.now),
    )
    client, head = site.app.test_client(), {"Authorization": f"Bearer hkall_{role}"}
    asked: Mapping[str, list[tuple[str, str, Any]]] = {
        "lists.counts": [("GET", "/lists", None)],
        "lists.page": [("GET", f"/lists/{name}", None) for name in ListName],
        "requests.search": [("POST", "/requests/search", {"q": words}) for words in ("Title", "C9", "UG1", "OLD1")],
        "requests.one": [("GET", f"/requests/{number}", None) for number in numbers(site)],
        "statistics.period": [("GET", "/statistics?from=2017-01-01&to=2017-06-30", None)],
    }
    assert asked.keys() == {endpoint for endpoint, needed in ROLES.items() if needed is StaffRole.VIEWER}
    for endpoint, ways in asked.items():
        for verb, path, body in ways:
            yield endpoint, client.open(f"/api/v1{path}", method=verb, json=body, headers=head)


def test_patron_names_are_hidden_from_viewers_on_every_page_and_export(telling: Site) -> None:
    shown = dict.fromkeys(PERSONAL, 0)
    for rule, answer in pages(telling, telling.staff("viewer")):
        assert answer.status_code in {200, 303, 404, 422}, rule
        assert [word for word in PERSONAL if word in answer.text] == [], (rule, answer.request.path)
    for _, answer in pages(telling, telling.staff("clerk")):
        shown = {word: times + (word in answer.text) for word, times in shown.items()}
    assert all(shown.values()), shown


def test_patron_names_are_hidden_from_viewers_in_every_api_operation(telling: Site) -> None:
    for endpoint, answer in calls(telling, "viewer"):
        assert answer.status_code == 200, endpoint
        assert [word for word in PERSONAL if word in answer.text] == [], (endpoint, answer.request.path)
    texts = [answer.text for _, answer in calls(telling, "clerk")]
    assert any("UG1" in text for text in texts)
    assert any(NOTE in text for text in texts)


@pytest.mark.parametrize("card", ["UG1", "OLD1"])
def test_viewer_cannot_search_requests_by_card(telling: Site, card: str) -> None:
    assert "data-request" not in telling.staff("viewer").post("/staff/requests", q=card).text
    assert "data-request" in telling.staff("clerk").post("/staff/requests", q="UG1").text


def test_viewer_is_not_offered_what_the_role_may_not_do(site: Site) -> None:
    viewer, clerk = site.staff("viewer"), site.staff("clerk")
    for path, offered in (("/staff/requests", "card"), ("/staff/keys", "Take the payment"), ("/staff/keys", "Scan a card")):
        assert (offered in viewer.get(path).text, offered in clerk.get(path).text) == (False, True), path
    assert "Find a request" in viewer.get("/staff/keys").text


def test_viewer_cannot_use_explain_with_a_card(telling: Site) -> None:
    viewer, clerk = telling.staff("viewer"), telling.staff("clerk")
    for question in ("request", "borrow"):
        assert viewer.get(f"/staff/explain?question={question}").status_code == 404
        fields = {"question": question, "patron": "UG1", "bib": "b-dune", "item": "C9"}
        assert viewer.post("/staff/explain", **fields).status_code == 404
        assert clerk.post("/staff/explain", **fields).status_code == 200
    assert "The fine is" in viewer.post("/staff/explain", question="fine", item="C9", at=AT).text
    assert 'name="patron"' not in viewer.get("/staff/explain?question=renew").text


def test_viewer_sees_only_category_and_page_number_of_a_patron(telling: Site) -> None:
    number = telling.staff("clerk").post("/staff/patrons", q="UG1").location.rpartition("/")[2]
    page = telling.staff("viewer").get("/staff/requests/R-LATE").text
    assert "Undergraduates" in page
    assert number in page
